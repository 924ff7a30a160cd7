"""Events to runs: in order per customer, at once when Temporal is up, later when it was down."""
