"""The built-in checks: what an image must be on every platform, as ordinary pytest items."""
