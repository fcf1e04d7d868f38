"""What is built or pulled, once per run and platform, and what the engine's store says that it is."""
