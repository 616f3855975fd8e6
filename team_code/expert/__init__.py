"""The rule-based expert that demonstrates driving: a privileged planner in the manner of PDM-Lite."""
