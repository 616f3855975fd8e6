"""Running many routes as processes: servers, ports, hang detection, retries, a journal, local machines or SLURM.

This package knows nothing of driving. It starts a simulator server (embedded or CARLA) and a client command that drives
routes on it, watches both, and keeps one typed outcome per route that survives a kill at any moment.
"""
