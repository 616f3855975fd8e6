"""The list of boxes of one frame, in the order and with the keys of the published recordings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import carla
import numpy as np
from numpy.typing import NDArray

from driving.geometry import invert_pose, wrap_number
from driving.records import (
    Box,
    CarBox,
    EgoCarBox,
    LandmarkBox,
    StaticBox,
    StaticCarBox,
    StopSignBox,
    StopSignVqaBox,
    TrafficLightBox,
    TrafficLightVqaBox,
    TrafficWarningBox,
    WalkerBox,
    WeatherBox,
)
from team_code.recording.ego_info import LaneHazards, ego_info_box
from team_code.recording.lanes import LaneBook
from team_code.recording.points import PointIndex

Array = NDArray[np.float64]

SAVE_RADIUS_M = 64.0
LIGHT_LOOK_AHEAD_M = 30.0
LANDMARK_LOOK_AHEAD_M = 40.0
TRAFFIC_LIGHT_SIGNAL = "1000001"
"""Type of a traffic light among the signals of an OpenDRIVE map."""

STOP_BOX_EXTENT = (1.5, 1.5, 0.5)

CSS2_COLOURS = {
    "aqua": (0, 255, 255), "black": (0, 0, 0), "blue": (0, 0, 255), "fuchsia": (255, 0, 255), "green": (0, 128, 0),
    "gray": (128, 128, 128), "lime": (0, 255, 0), "maroon": (128, 0, 0), "navy": (0, 0, 128), "olive": (128, 128, 0),
    "purple": (128, 0, 128), "red": (255, 0, 0), "silver": (192, 192, 192), "teal": (0, 128, 128),
    "white": (255, 255, 255), "yellow": (255, 255, 0),
}  # fmt: skip
"""The sixteen colour names of CSS 2."""

WEATHER_KEYS = (
    "cloudiness", "dust_storm", "fog_density", "fog_distance", "fog_falloff", "mie_scattering_scale", "precipitation",
    "precipitation_deposits", "rayleigh_scattering_scale", "scattering_intensity", "sun_altitude_angle",
    "sun_azimuth_angle", "wetness", "wind_intensity",
)  # fmt: skip


@lru_cache(maxsize=512)
def colour_name(rgb: tuple[int, int, int]) -> str:
    """Nearest of the sixteen CSS 2 names in RGB space."""
    return min(CSS2_COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(CSS2_COLOURS[name], rgb)))


@dataclass(frozen=True)
class Governed:
    """A light or sign with the places at which it governs the traffic.

    Attributes:
        actor: The light or sign.
        trigger: Centre of its trigger volume, world frame.
        stops: Places where vehicles stop for it, world frame.
    """

    actor: carla.Actor
    trigger: carla.Location
    stops: Sequence[carla.Location]


@dataclass(frozen=True)
class FrameFacts:
    """What the boxes need to know besides the actors.

    Attributes:
        points: LiDAR points of the frame in the vehicle frame.
        light_id, stop_id: Next light and next stop sign on the route.
        stop_cleared: Whether that sign has been obeyed.
        scenario: Written to `ego_info`.
        cutting_in: Ids of vehicles that are cutting in.
        weather: Current weather.
    """

    points: PointIndex
    light_id: int | None
    stop_id: int | None
    stop_cleared: bool
    scenario: str
    cutting_in: frozenset[int]
    weather: carla.WeatherParameters


@dataclass(frozen=True)
class _Pose:
    """An actor relative to the ego."""

    position: list[float]
    yaw: float
    distance: float
    matrix: list[list[float]]
    speed: float


class BoxRecorder:
    """Makes the boxes of a frame. Lanes and actor attributes are looked up once.

    Args:
        world: The `carla.World`.
        ego: The ego vehicle.
        book: Lane relations.
        extent_of: Half sizes of an actor, metres.
        lights, stop_signs: Of the whole town.
        next_action: Function from a vehicle to the traffic manager's next action, None where it has none.
    """

    def __init__(
        self,
        world: carla.World,
        ego: carla.Vehicle,
        book: LaneBook,
        extent_of: Callable[[carla.Actor], carla.Vector3D],
        lights: Sequence[Governed],
        stop_signs: Sequence[Governed],
        next_action: Callable[[carla.Vehicle], str | None] = lambda vehicle: None,
    ) -> None:
        self._world, self._ego, self._book = world, ego, book
        self._lights, self._stop_signs = lights, stop_signs
        self._extent_of, self._next_action = extent_of, next_action
        self._hazards = LaneHazards(book, extent_of)
        self._attributes: dict[int, dict[str, str]] = {}
        self._light_of_signal: dict[str, carla.TrafficLight] = {}
        for governed in lights:
            self._light_of_signal.setdefault(governed.actor.get_opendrive_id(), governed.actor)

    def record(self, actors: Sequence[carla.Actor], facts: FrameFacts) -> list[Box]:
        """All boxes of the current tick, in published order."""
        self._facts = facts
        states = self._world.get_vehicles_light_states()  # one call for all; asking each vehicle is a call each
        self._vehicle_lights = {key: int(value) for key, value in states.items()}
        transform = self._ego.get_transform()
        self._here = transform.location
        self._ego_matrix = np.array(transform.get_matrix())
        self._to_ego = invert_pose(self._ego_matrix)
        self._to_ego_rows = self._to_ego[:3].tolist()
        self._ego_yaw = math.radians(transform.rotation.yaw)
        self._lane = self._book.map.get_waypoint(transform.location)
        near = [a for a in actors if a.id != self._ego.id and self._is_near(a)]
        vehicles = [a for a in near if a.type_id.startswith("vehicle.")]
        walkers = [a for a in near if a.type_id.startswith("walker.")]
        props = [a for a in near if a.type_id.startswith("static.")]
        boxes: list[Box] = [self._ego_box()]
        boxes += [self._car_box(vehicle) for vehicle in vehicles]
        boxes += [self._walker_box(walker) for walker in walkers]
        lights = [g for g in self._lights if g.trigger.distance(self._here) < SAVE_RADIUS_M]
        signs = [g for g in self._stop_signs if g.trigger.distance(self._here) < SAVE_RADIUS_M]
        boxes += [box for light in lights for box in self._light_boxes(light)]
        boxes += [self._stop_box(sign) for sign in signs]
        boxes += [box for light in lights if (box := self._light_vqa_box(light)) is not None]
        boxes += [self._stop_vqa_box(sign) for sign in signs]
        boxes += [self._prop_box(prop) for prop in props]
        boxes += self._landmark_boxes()
        boxes.append(WeatherBox(**{key: getattr(facts.weather, key) for key in WEATHER_KEYS}))
        light_state = self._light_state(self._lane, 50.0)
        hazard = self._hazards.find(self._ego, self._lane, vehicles)
        boxes.append(ego_info_box(self._book, self._lane, facts.scenario, light_state, hazard))
        return boxes

    # ---- relations --------------------------------------------------------------------------------------------

    def _is_near(self, actor: carla.Actor) -> bool:
        if not actor.type_id.startswith(("vehicle.", "walker.", "static.")):
            return False
        return actor.get_location().distance(self._here) < SAVE_RADIUS_M

    def _pose(self, actor: carla.Actor) -> _Pose:
        transform, velocity = actor.get_transform(), actor.get_velocity()
        matrix = transform.get_matrix()
        (fx, _, _, x), (fy, _, _, y), (fz, _, _, z) = matrix[:3]
        position = [a * x + b * y + c * z + d for a, b, c, d in self._to_ego_rows]
        return _Pose(
            position=position,
            yaw=wrap_number(math.radians(transform.rotation.yaw) - self._ego_yaw),
            distance=math.hypot(*position),
            matrix=matrix,
            speed=fx * velocity.x + fy * velocity.y + fz * velocity.z,
        )

    def _relative_place(self, location: carla.Location, yaw_deg: float) -> dict[str, Any]:
        place = (self._to_ego @ [location.x, location.y, location.z, 1.0])[:3]
        yaw = wrap_number(math.radians(yaw_deg) - self._ego_yaw)
        return {"position": place.tolist(), "yaw": yaw, "distance": float(np.linalg.norm(place))}

    def _relation(self, waypoint: carla.Waypoint | None) -> dict[str, Any]:
        """The three keys that relate a lane to the ego lane."""
        same_road = waypoint is not None and waypoint.road_id == self._lane.road_id
        if not same_road or waypoint is None:
            return {"same_road_as_ego": False, "same_direction_as_ego": False, "lane_relative_to_ego": None}
        section = self._book.cross_section(self._lane)
        return {
            "same_road_as_ego": True,
            "same_direction_as_ego": waypoint.lane_id * self._lane.lane_id > 0,
            "lane_relative_to_ego": section.relative_lane(self._lane.lane_id, waypoint.lane_id),
        }

    def _light_state(self, waypoint: carla.Waypoint, distance: float) -> str:
        """State of the first light on the way ahead, metres, "None" without one.

        The first of `carla.World.get_traffic_lights_from_waypoint`, which lists all actors for every signal it meets.
        """
        for mark in waypoint.get_landmarks_of_type(distance, TRAFFIC_LIGHT_SIGNAL, False):
            light = self._light_of_signal.get(mark.id)
            if light is not None:
                return str(light.state)
        return "None"

    def _attributes_of(self, actor: carla.Actor) -> dict[str, str]:
        """What the blueprint says of an actor, which never changes."""
        attributes = self._attributes.get(actor.id)
        if attributes is None:
            attributes = self._attributes[actor.id] = actor.attributes
        return attributes

    def _count(self, pose: _Pose, extent: Sequence[float]) -> int:
        return self._facts.points.count(pose.position, extent, pose.yaw)

    def _extent(self, actor: carla.Actor) -> list[float]:
        extent = self._extent_of(actor)
        return [extent.x, extent.y, extent.z]

    # ---- one function per class -----------------------------------------------------------------------------

    def _ego_box(self) -> EgoCarBox:
        pose, control = self._pose(self._ego), self._ego.get_control()
        return EgoCarBox(
            extent=self._extent(self._ego),
            position=[0.0, 0.0, 0.0],
            yaw=0.0,
            distance=-1,
            speed=pose.speed,
            brake=control.brake,
            id=self._ego.id,
            matrix=pose.matrix,
        )

    def _car_box(self, vehicle: carla.Vehicle) -> CarBox:
        pose, control, extent = self._pose(vehicle), vehicle.get_control(), self._extent(vehicle)
        place, attributes = vehicle.get_location(), self._attributes_of(vehicle)
        waypoint = self._book.waypoint(place) or self._book.map.get_waypoint(place)
        following = self._book.after(waypoint)
        colour = attributes.get("color")
        rgb = tuple(int(part) for part in colour.split(",")) if colour else None
        return CarBox(
            color_rgb=None if rgb is None else list(rgb),
            color_name=None if rgb is None or len(rgb) != 3 else colour_name(rgb),
            next_action=self._next_action(vehicle),
            vehicle_cuts_in=vehicle.id in self._facts.cutting_in,
            road_id=waypoint.road_id,
            lane_id=waypoint.lane_id,
            lane_type=int(waypoint.lane_type),
            lane_type_str=str(waypoint.lane_type),
            is_in_junction=waypoint.is_junction,
            junction_id=waypoint.junction_id,
            distance_to_junction=self._book.distance_to_junction(waypoint),
            next_junction_id=following.junction_id,
            next_road_ids=list(following.roads),
            next_next_road_ids=list(following.roads_after),
            **self._relation(waypoint),
            light_state=_set_bits(self._vehicle_lights.get(vehicle.id, 0)),
            traffic_light_state=self._light_state(waypoint, LIGHT_LOOK_AHEAD_M),
            is_at_traffic_light=vehicle.is_at_traffic_light(),
            base_type=attributes.get("base_type", "car"),
            number_of_wheels=attributes.get("number_of_wheels", "4"),
            **self._placed(pose, extent),
            speed=pose.speed,
            brake=control.brake,
            steer=control.steer,
            throttle=control.throttle,
            id=vehicle.id,
            role_name=attributes.get("role_name", ""),
            type_id=vehicle.type_id,
            matrix=pose.matrix,
        )

    def _placed(self, pose: _Pose, extent: list[float]) -> dict[str, Any]:
        """What boxes of all things that the LiDAR hits have in common."""
        return {
            "extent": extent,
            "position": pose.position,
            "yaw": pose.yaw,
            "num_points": self._count(pose, extent),
            "distance": pose.distance,
        }

    def _walker_box(self, walker: carla.Walker) -> WalkerBox:
        pose, extent, attributes = self._pose(walker), self._extent(walker), self._attributes_of(walker)
        waypoint = self._book.waypoint(walker.get_location())
        return WalkerBox(
            role_name=attributes.get("role_name", ""),
            gender=attributes.get("gender", ""),
            age=attributes.get("age", "adult"),
            **self._placed(pose, extent),
            speed=pose.speed,
            id=walker.id,
            lane_type=int(waypoint.lane_type) if waypoint is not None else int(carla.LaneType.NONE),
            **self._relation(waypoint),
            matrix=pose.matrix,
        )

    def _light_boxes(self, light: Governed) -> list[TrafficLightBox]:
        turn = light.actor.get_transform().rotation
        return [
            TrafficLightBox(
                extent=list(STOP_BOX_EXTENT),
                **self._relative_place(stop, turn.yaw),
                state=str(light.actor.state),
                id=light.actor.id,
                affects_ego=light.actor.id == self._facts.light_id,
                matrix=carla.Transform(stop, turn).get_matrix(),
            )
            for stop in light.stops
        ]

    def _stop_box(self, sign: Governed) -> StopSignBox:
        turn = sign.actor.get_transform().rotation
        return StopSignBox(
            extent=list(STOP_BOX_EXTENT),
            **self._relative_place(sign.trigger, turn.yaw),
            id=sign.actor.id,
            affects_ego=sign.actor.id == self._facts.stop_id and not self._facts.stop_cleared,
            matrix=carla.Transform(sign.trigger, turn).get_matrix(),
        )

    def _vqa_keys(self, sign: Governed) -> dict[str, Any]:
        pose, extent = self._pose(sign.actor), self._extent(sign.actor)
        waypoint = self._book.map.get_waypoint(sign.trigger)
        relation = self._relation(waypoint)
        return {
            **self._placed(pose, extent),
            "road_id": None if waypoint is None else waypoint.road_id,
            "lane_id": None if waypoint is None else waypoint.lane_id,
            "junction_id": None if waypoint is None else waypoint.junction_id,
            "affects_ego": relation["same_direction_as_ego"],
            **relation,
        }

    def _light_vqa_box(self, light: Governed) -> TrafficLightVqaBox | None:
        """The light itself: as in published records, its place is the actor's, the foot of the pole, not the lamp's."""
        keys = self._vqa_keys(light)
        if keys["position"][0] < 0:
            return None
        state = light.actor.state
        return TrafficLightVqaBox(**keys, state_str=str(state), state=int(state))

    def _stop_vqa_box(self, sign: Governed) -> StopSignVqaBox:
        return StopSignVqaBox(**self._vqa_keys(sign))

    def _prop_box(self, prop: carla.Actor) -> Box:
        pose, true_extent = self._pose(prop), self._extent(prop)
        mesh = self._attributes_of(prop).get("mesh_path")
        keys: dict[str, Any] = {
            **self._placed(pose, true_extent),
            "extent": [true_extent[1], true_extent[0], true_extent[2]],
            "mesh_path": mesh,
        }
        if prop.type_id == "static.prop.mesh" and mesh and "Car" in mesh:
            return self._static_car_box(prop, pose, keys)
        if prop.type_id == "static.prop.trafficwarning":
            return TrafficWarningBox(**keys)
        return StaticBox(type_id=prop.type_id, **keys)

    def _static_car_box(self, prop: carla.Actor, pose: _Pose, keys: dict[str, Any]) -> StaticCarBox:
        waypoint = self._book.waypoint(prop.get_location())
        return StaticCarBox(
            **keys,
            speed=pose.speed,
            road_id=None if waypoint is None else waypoint.road_id,
            junction_id=None if waypoint is None else waypoint.junction_id,
            lane_id=None if waypoint is None else waypoint.lane_id,
            on_lane_type="" if waypoint is None else str(waypoint.lane_type),
            **self._relation(waypoint),
            matrix=pose.matrix,
        )

    def _landmark_boxes(self) -> list[LandmarkBox]:
        boxes = []
        for mark in self._lane.get_landmarks(LANDMARK_LOOK_AHEAD_M, False):
            place = self._relative_place(mark.transform.location, mark.transform.rotation.yaw)
            identifier = int(mark.id) if mark.id.isdigit() else -1
            boxes.append(LandmarkBox(name=mark.name, **place, id=identifier, text=mark.text, value=mark.value))
        return boxes


def _set_bits(flags: int) -> list[int]:
    return [1 << i for i in range(11) if flags & (1 << i)]
