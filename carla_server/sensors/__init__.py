"""Sensors of the embedded server: what a camera, a lidar or a radar sees of the world at one moment."""
