"""What a journey costs, against a bare Temporal workflow on the same machine in the same run."""
