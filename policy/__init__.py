"""May this be sent now? Pure functions over facts; every answer has a rule and a reason."""
