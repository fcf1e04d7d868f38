"""The audit: what an image's file system, its config and its index say, and what is wrong with it."""
