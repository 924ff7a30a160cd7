"""Car marketplace, credit service: applications left half-way and applications refused."""
