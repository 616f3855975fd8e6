"""Calls of the carla client: a table from method name to function."""

from carla_server.calls import (  # noqa: F401  (importing fills the table)
    actors,
    batch,
    environment,
    lights,
    recorder,
    session,
    traffic_manager,
    vehicles,
    walkers,
)
from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import METHODS, dispatch

__all__ = ["METHODS", "Session", "Simulator", "dispatch"]
