"""The smallest steps of scenarios: behaviours, conditions, flows, all py_trees nodes."""
