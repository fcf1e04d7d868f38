"""What runs: containers with a shell that stays, services as in production, and whose fault an end is."""
