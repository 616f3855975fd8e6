"""From recorded frames to batches; the image and prompt functions here are also those of the driving agents."""
