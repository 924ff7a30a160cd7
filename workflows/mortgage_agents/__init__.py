"""Platform for estate agents: from the survey at registration to the deals, and back after a month of silence."""
