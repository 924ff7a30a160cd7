"""What workflows ask of the world: thin activities that join policy, templates, channels and store."""
