"""Lender: registrations and loans left half-way, new and returning customers, refusals, those who were lost."""
