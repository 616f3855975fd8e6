"""Evaluation at scale: from a configuration to jobs, from outcomes to one table, a manifest and a report."""
