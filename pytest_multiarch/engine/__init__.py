"""The container engine: one client of it, how it is reached, and what its own trouble looks like."""
