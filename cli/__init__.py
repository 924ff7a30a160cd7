"""The `journeys` command and the embedded stack it starts."""
