"""The demonstration: customers begin credit applications, leave, are written to, and behave like people."""
