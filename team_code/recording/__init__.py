"""What the data agent writes: boxes, lane relations, LiDAR sweeps, and the background writer."""
