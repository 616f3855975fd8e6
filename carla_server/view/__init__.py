"""Live view: a page on localhost with a camera, a map of actors and lights, and tick statistics."""
