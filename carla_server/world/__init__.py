"""The simulated world: actors, motion, lights, weather. Knows nothing of bytes and sockets."""
