"""Open-loop evaluation: how far predictions lie from what the expert did."""
