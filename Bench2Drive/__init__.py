"""Bench2Drive's metrics: driving score, success rate, abilities, efficiency, smoothness, with intervals."""
