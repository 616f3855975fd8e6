"""A CARLA-compatible simulator server in one process: it speaks CARLA's wire protocol to the unmodified client."""
