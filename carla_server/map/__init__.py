"""Road networks: reading OpenDRIVE, finding lanes, and generating the towns that come with this repository."""

from carla_server.map.opendrive import MapError
from carla_server.map.records import (
    Controller,
    Crosswalk,
    GeoReference,
    Junction,
    Lane,
    LaneKey,
    LaneMarking,
    LanePosition,
    MapObject,
    Signal,
    SignalKind,
    SpawnPoint,
)
from carla_server.map.road_map import RoadMap

__all__ = [
    "Controller",
    "Crosswalk",
    "GeoReference",
    "Junction",
    "Lane",
    "LaneKey",
    "LaneMarking",
    "LanePosition",
    "MapError",
    "MapObject",
    "RoadMap",
    "Signal",
    "SignalKind",
    "SpawnPoint",
]
