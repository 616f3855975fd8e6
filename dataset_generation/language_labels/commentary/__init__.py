"""Commentary: what the ego vehicle does in a frame and why, in one or two sentences."""
