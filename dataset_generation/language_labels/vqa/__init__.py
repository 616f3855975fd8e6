"""Questions and answers about recorded frames (VQA), as a graph of 22 nodes."""
