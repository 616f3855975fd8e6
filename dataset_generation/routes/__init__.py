"""Route files for evaluation and collection."""
