"""Background traffic around the ego vehicle, in the frame of its route."""
