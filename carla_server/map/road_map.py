"""The road network as the server uses it: lanes, markings, signals, objects, and the lane under any point."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from carla_server.map import lookup, nearest
from carla_server.map.furniture import crosswalks_of, place_controllers, place_objects, place_signals
from carla_server.map.links import linked_lanes
from carla_server.map.opendrive import Array, MapError, OpenDrive, parse_opendrive
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
    SpawnPoint,
)
from carla_server.map.sampling import sample_lanes, sample_markings

#: Distance between spawn points along a lane, and the part of a lane's ends kept free of them, metres.
SPAWN_SPACING, SPAWN_MARGIN = 25.0, 10.0
#: Height of spawn points above the road, metres.
SPAWN_LIFT = 0.3


def read_text(path: Path) -> str:
    """The text of an OpenDRIVE file.

    Raises:
        MapError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"cannot read the road network {path}: {error}") from None


class RoadMap:
    """A road network in CARLA's world frame (metres, radians; y south, left-handed).

    Attributes:
        name: Town name.
        xodr: The OpenDRIVE text it was read from, as the carla client receives it.
        lanes: All lanes but the centre ones; `Lane.index` is the position here.
        markings: Painted lines and kerbs.
        junctions: Junctions by id.
        signals: Traffic lights and signs by id.
        controllers: Light controllers by id.
        objects: Buildings, trees, lamps, crosswalks and whatever else the file places.
        crosswalks: Pedestrian crossings.
        geo_reference: Where on the globe the origin lies.

    Raises:
        MapError: The network has no lane to use.
    """

    def __init__(self, network: OpenDrive, name: str, xodr: str = "") -> None:
        self.name = name
        self.xodr = xodr
        self.lanes: tuple[Lane, ...] = linked_lanes(network, sample_lanes(network.roads))
        if all(lane.type == "none" for lane in self.lanes):
            raise MapError(f"{name}: expected a lane that is used, as one of type driving; there is none on any road")
        self.markings: tuple[LaneMarking, ...] = tuple(sample_markings(network.roads))
        self.signals: dict[str, Signal] = place_signals(network, self.lanes)
        self.controllers: dict[str, Controller] = place_controllers(network)
        self.objects: tuple[MapObject, ...] = place_objects(network)
        self.crosswalks: tuple[Crosswalk, ...] = crosswalks_of(self.objects)
        self.geo_reference = _geo_reference(network.geo_reference)
        self.junctions: dict[int, Junction] = _junctions(network, self.lanes)

    @classmethod
    def from_xodr(cls, text: str, name: str) -> RoadMap:
        """Read OpenDRIVE text.

        Raises:
            MapError: The text is not a usable road network.
        """
        return cls(parse_opendrive(text, name), name, text)

    @classmethod
    def load(cls, path: Path | str) -> RoadMap:
        """Read an OpenDRIVE file; the town is named after the file.

        Raises:
            MapError: The file is missing or not a usable road network.
        """
        path = Path(path)
        return cls.from_xodr(read_text(path), path.stem)

    # -- finding lanes ------------------------------------------------------------------------------------------

    @cached_property
    def lane_grid(self) -> lookup.LaneGrid:
        """Quads of all lanes, sorted for lookup."""
        return lookup.build_grid(self.lanes)

    @cached_property
    def by_key(self) -> dict[LaneKey, Lane]:
        """Lanes by road, section and lane id."""
        return {lane.key: lane for lane in self.lanes}

    def _mask(self, types: Collection[str] | None) -> NDArray[np.bool_]:
        cache = self.__dict__.setdefault("_masks", {})
        key = None if types is None else frozenset(types)
        if key not in cache:
            cache[key] = np.array([key is None or lane.type in key for lane in self.lanes])
        return cache[key]

    def locate_many(self, points: ArrayLike, types: Collection[str] | None = None) -> tuple[NDArray[np.int64], Array]:
        """Lane under each of many points.

        Args:
            points: (N, 3) world points, metres.
            types: Lane types to consider; all if None.

        Returns:
            (N,) lane indices, -1 off the network, and (N, 3) of distance along the road, offset from the middle
            (positive to the driver's right) and ground height, metres; nan off the network.
        """
        points = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
        grid = self.lane_grid
        found = np.zeros((len(points), 4))
        lookup.find_quads(
            grid.origin,
            grid.shape,
            grid.starts,
            grid.members,
            grid.quads,
            grid.lane,
            grid.height,
            grid.rank,
            self._mask(types),
            points,
            found,
            100.0,
        )
        quad = found[:, 0].astype(np.int64)
        hit = quad >= 0
        lane = np.where(hit, grid.lane[quad], -1)
        s = grid.s[quad, 0] * (1 - found[:, 1]) + grid.s[quad, 1] * found[:, 1]
        corners = grid.quads[quad]
        near = np.hypot(*(corners[:, 1, :2] - corners[:, 0, :2]).T)
        far = np.hypot(*(corners[:, 2, :2] - corners[:, 3, :2]).T)
        width = near * (1 - found[:, 1]) + far * found[:, 1]
        # From the inner border outwards is to the driver's right in every lane.
        rows = np.stack((s, (found[:, 2] - 0.5) * width, found[:, 3]), axis=1)
        rows[~hit] = np.nan
        return lane, rows

    def locate(self, x: float, y: float, z: float = 0.0, types: Collection[str] | None = None) -> LanePosition | None:
        """The lane under a point, or None off the network.

        Where lanes overlap, the one nearest in height wins, then the type (driving before parking, shoulder,
        sidewalk), then the lane whose middle is nearest.
        """
        lane, rows = self.locate_many((x, y, z), types)
        if lane[0] < 0:
            return None
        s, offset, ground = rows[0].tolist()
        return self._position(self.lanes[int(lane[0])], s, offset, ground)

    def nearest(
        self, x: float, y: float, z: float = 0.0, types: Collection[str] | None = ("driving",)
    ) -> tuple[LanePosition, float]:
        """The nearest lane middle of the given types, and its distance in metres. Searches the whole network.

        Raises:
            MapError: There is no lane of these types, or the point is not finite.
        """
        grid = self.lane_grid
        found = np.empty((1, 3))
        lookup.nearest_quads(grid.quads, grid.lane, self._mask(types), np.array([[x, y, z]], dtype=np.float64), found)
        quad = int(found[0, 0])
        if quad < 0:
            raise MapError(f"{self.name} has no lane of type {types} near ({x}, {y}, {z})")
        lane = self.lanes[int(grid.lane[quad])]
        along, distance = found[0, 1:].tolist()
        s = float(grid.s[quad, 0] * (1 - along) + grid.s[quad, 1] * along)
        ground = float(np.interp(s, lane.s, lane.center[:, 2])) + lane.height
        return self._position(lane, s, 0.0, ground), distance

    def _position(self, lane: Lane, s: float, offset: float, ground: float) -> LanePosition:
        yaw = float(np.interp(s, lane.s, np.unwrap(lane.yaw)))
        return LanePosition(lane, s, offset, ground, yaw, float(np.interp(s, lane.s, lane.width)))

    def ground_heights(self, points: ArrayLike) -> Array:
        """(N,) height of the road or kerb under (N, 3) points, metres; nan off the network."""
        return self.locate_many(points)[1][:, 2]

    # -- places -------------------------------------------------------------------------------------------------

    def pose_on(self, lane: Lane, s: float, offset: float = 0.0) -> tuple[Array, float, float]:
        """Point on a lane.

        Args:
            lane: A lane of this map.
            s: Distance along its road, metres; clipped to the lane.
            offset: Metres to the driver's right of the middle.

        Returns:
            (3,) world point on the ground, heading of travel and slope along travel (positive uphill), radians.
        """
        point = np.array([np.interp(s, lane.s, lane.center[:, axis]) for axis in range(3)])
        yaw = float(np.interp(s, lane.s, np.unwrap(lane.yaw)))
        lower, upper = max(lane.s[0], s - 0.5), min(lane.s[-1], s + 0.5)
        rise = np.interp(upper, lane.s, lane.center[:, 2]) - np.interp(lower, lane.s, lane.center[:, 2])
        slope = math.atan2(float(rise), upper - lower) * (1 if lane.forward else -1) if upper > lower else 0.0
        point += (-offset * math.sin(yaw), offset * math.cos(yaw), lane.height)
        return point, yaw, slope

    @cached_property
    def spawn_points(self) -> tuple[SpawnPoint, ...]:
        """Poses on driving lanes outside junctions, spaced along each lane, in the order of `lanes`."""
        points = []
        for lane in self.lanes:
            if lane.type != "driving" or lane.junction >= 0 or lane.width.min() < 2.5:
                continue
            for distance in np.arange(SPAWN_MARGIN, lane.length - SPAWN_MARGIN, SPAWN_SPACING):
                s = lane.s[0] + distance if lane.forward else lane.s[-1] - distance
                (x, y, z), yaw, slope = self.pose_on(lane, float(s))
                degrees = (math.degrees(yaw) + 180.0) % 360.0 - 180.0
                points.append(SpawnPoint(float(x), float(y), float(z) + SPAWN_LIFT, math.degrees(slope), degrees, 0.0))
        return tuple(points)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest corner (3,) of all lanes and objects, metres."""
        points = np.concatenate([row for lane in self.lanes for row in (lane.inner, lane.outer)])
        outlines = [row.outline for row in self.objects if row.outline is not None]
        points = np.concatenate([points, *outlines])
        return points.min(axis=0), points.max(axis=0)


def _geo_reference(text: str) -> GeoReference:
    values = dict(re.findall(r"\+(lat_0|lon_0)=(\S+)", text))
    try:
        return GeoReference(float(values.get("lat_0", 42.0)), float(values.get("lon_0", 2.0)), text)
    except ValueError:
        raise MapError(f"geoReference {text!r}: expected numbers after +lat_0= and +lon_0=") from None


def _junctions(network: OpenDrive, lanes: tuple[Lane, ...]) -> dict[int, Junction]:
    roads: dict[int, list[int]] = {}
    members: dict[int, list[int]] = {}
    for road in network.roads.values():
        if road.junction >= 0:
            roads.setdefault(road.junction, []).append(road.id)
    for lane in lanes:
        if lane.junction >= 0:
            members.setdefault(lane.junction, []).append(lane.index)
    return {
        row.id: Junction(
            id=row.id,
            name=row.name,
            roads=tuple(roads.get(row.id, ())),
            lanes=tuple(members.get(row.id, ())),
            controllers=row.controllers,
            connections=tuple((link.incoming, link.connecting) for link in row.connections),
            surface=_junction_surface([lanes[index] for index in members.get(row.id, ())]),
        )
        for row in network.junctions.values()
    }


def _junction_surface(lanes: list[Lane]) -> tuple[Array, ...]:
    """Union of the lanes that traffic uses, with the islands and notches between them filled."""
    used = [lane for lane in lanes if lane.type != "sidewalk" and lane.type != "none"]
    if not used:
        return ()
    strips = [np.concatenate((lane.inner, lane.outer[::-1])) for lane in used]
    vertices = np.concatenate(strips)
    # Closing by this distance, metres, bridges the gaps between diverging lanes but not the corners of the kerb.
    reach = 4.0
    joined = shapely.union_all([shapely.Polygon(strip[:, :2]).buffer(0.05) for strip in strips])
    filled = joined.buffer(reach, join_style="mitre").buffer(-reach - 0.05, join_style="mitre")
    parts = shapely.get_parts(filled)
    tree = nearest.tree(vertices[:, :2])
    polygons = []
    for part in parts:
        ring = np.asarray(part.exterior.coords)[:-1]
        polygons.append(np.column_stack((ring, vertices[tree.query(ring)[1], 2])))
    return tuple(polygons)
