"""Traffic scenarios: what happens around the ego on a route."""
