"""What is said of a run: values in, lines out."""
