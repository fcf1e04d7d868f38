"""Which builder builds the images: the session's own, one that exists, or the engine's."""
