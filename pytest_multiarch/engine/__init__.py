"""What acts: the engine, its emulators, builder, images and containers."""
