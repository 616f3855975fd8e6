"""Routes on a running server with a scripted ego: a film of all that moved, and facts that films are asked for.

The route is the evaluator's own: its criteria, background traffic driven by CARLA's Traffic Manager, its scenarios. Only the
driver is scripted. A `Scene` is one row of a table: which route, how the ego drives, what is to be seen, what the criteria say.
"""

from __future__ import annotations

import dataclasses
import math
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import carla
import numpy as np
import pytest

from leaderboard.autoagents.route_following import RouteFollower, pedals
from leaderboard.rules import BENCH2DRIVE, Rules
from leaderboard.scenarios.route_scenario import RouteScenario
from leaderboard.utils.route_parser import RouteParser
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.scenario_info import ScenarioInfo, ScenarioPhase
from srunner.scenariomanager.timer import GameTime
from srunner.scenariomanager.traffic_events import TrafficEventType
from srunner.scenarios import basic_scenario
from srunner.tools.places import copy_transform
from tests.scenario_runner.drives import ROOT

Fact = Callable[["Film"], None]
"""Asserts something of a film."""

TICK = 0.05
SEED = 0
EMBEDDED = ROOT / "data" / "routes" / "embedded220.xml"
HIDDEN_BELOW = -20.0
"""Actors lower than this are hidden, metres."""

COMFORT_BRAKE = 3.0
CREEP = 1.5
CORRIDOR = 1.8
SIGHT = 35.0
LANE = 3.5
SILENT = {TrafficEventType.MIN_SPEED_INFRACTION, TrafficEventType.ROUTE_COMPLETION}
"""Events that every drive leaves; a scripted ego's speed says nothing about its scenario."""


HITS = {
    TrafficEventType.COLLISION_STATIC,
    TrafficEventType.COLLISION_VEHICLE,
    TrafficEventType.COLLISION_PEDESTRIAN,
}
AFTERMATH = 10
"""Ticks that are still filmed when it is over."""


@cache
def routes() -> dict[str, RouteScenarioConfiguration]:
    """The routes of the repository's large file by id."""
    return {route.route_id: route for route in RouteParser.parse_routes_file(EMBEDDED)}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- the ego ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ego:
    """How the scripted ego drives. Without more it follows its lane at one speed and looks at nothing.

    Places are metres along the route from the trigger.

    Attributes:
        speed: m/s.
        halt_at: Where it comes to a stop.
        halt_s: How long it stands there.
        gap: It goes on only when nobody is nearer than this ahead on the lane beside which it swerves, metres.
        aside: (from, to, metres to the right) of a swerve.
        obeys: Whether it waits at its red light and stops at its stop sign.
        sees: Whether it stops behind what is ahead of it.
        ram: Whom it steers at after the trigger, once he is near: a part of the scenario, ``stream`` or ``traffic``.
        creep_from: From where it only creeps on, in everybody's way.
    """

    speed: float = 8.0
    halt_at: float | None = None
    halt_s: float = math.inf
    gap: float = 0.0
    aside: tuple[float, float, float] | None = None
    obeys: bool = False
    sees: bool = False
    ram: str = ""
    creep_from: float | None = None


@dataclass(frozen=True)
class Scene:
    """One drive and what is expected of it.

    Attributes:
        type: Scenario type.
        route: Id of a route of the large file; its scenario is made one of ``type`` if it is not.
        ego: The driver.
        shows: Facts.
        says: Kinds of events that the criteria report.
        may: Kinds that they may report besides, because who drives so meets others as well.
        timeout_s: The scenario timeout, shortened so that an ego that waits for ever is soon judged.
        most_s: Game time after which the film is over.
        rules: The benchmark.
        has_traffic: Whether others drive there too; without them nobody queues before the ego at its light.
    """

    type: str
    route: str
    ego: Ego = field(default_factory=Ego)
    shows: tuple[Fact, ...] = ()
    says: frozenset[TrafficEventType] = frozenset()
    may: frozenset[TrafficEventType] = frozenset()
    timeout_s: float = 240.0
    most_s: float = 45.0
    rules: Rules = BENCH2DRIVE
    has_traffic: bool = True

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.type}-{'+'.join(sorted(kind.name.lower() for kind in self.says)) or 'clean'}-{self.rules.name}"

    def config(self) -> RouteScenarioConfiguration:
        """The route with this scene's scenario."""
        found = routes()[self.route]
        (scenario,) = found.scenario_configs
        changed = dataclasses.replace(scenario, type=self.type, name=f"{self.type}_1")
        return dataclasses.replace(found, scenario_configs=[changed])


HIT_VEHICLE = frozenset({TrafficEventType.COLLISION_VEHICLE})
HIT_WALKER = frozenset({TrafficEventType.COLLISION_PEDESTRIAN})
HIT_THING = frozenset({TrafficEventType.COLLISION_STATIC})
RAN_LIGHT = frozenset({TrafficEventType.TRAFFIC_LIGHT_INFRACTION})
RAN_STOP = frozenset({TrafficEventType.STOP_INFRACTION})
LEFT_LANE = frozenset({TrafficEventType.OUTSIDE_ROUTE_LANES_INFRACTION})
DID_NOT_YIELD = frozenset({TrafficEventType.YIELD_TO_EMERGENCY_VEHICLE})
BLOCKED = frozenset({TrafficEventType.VEHICLE_BLOCKED})
TIMED_OUT = frozenset({TrafficEventType.SCENARIO_TIMEOUT})


def waits_for_ever(
    type_: str,
    route: str,
    at: float,
    timeout_s: float = 6.0,
    *shows: Fact,
    rules: Rules = BENCH2DRIVE,
    may: frozenset[TrafficEventType] = frozenset(),
) -> Scene:
    """An ego that comes to a stop and never goes on: the scenario timeout ends it, and the ego does not count as blocked."""
    return Scene(
        type_, route, Ego(halt_at=at), (*shows, times_out), TIMED_OUT, may, timeout_s=timeout_s, rules=rules,
        most_s=timeout_s + 15.0,
    )  # fmt: skip


def times_out(film: Film) -> None:
    """It ends when its time is up, and what it made is gone."""
    assert film.ended is not None, "it never ended"
    assert abs(film.since(film.ended) - film.scene.timeout_s) < 0.6, f"it ended after {film.since(film.ended):.1f} s"
    last = len(film.ego.ticks) - 1
    there = [track.type_id for track in (*film.parts.values(), *film.stream.values()) if track.ticks[-1] == last]
    assert not there, f"{there} are still there"


# ---- the film -----------------------------------------------------------------------------------------------------------


@dataclass
class Track:
    """Where one actor was.

    Attributes:
        type_id: Its model.
        role: Its role name.
        ticks: Ticks at which it existed.
        rows: x, y, z (metres), yaw (degrees) and horizontal speed (m/s) of each.
    """

    type_id: str
    role: str
    ticks: list[int] = field(default_factory=list)
    rows: list[tuple[float, float, float, float, float]] = field(default_factory=list)

    def visible(self) -> Iterator[tuple[int, tuple[float, float, float, float, float]]]:
        """(tick, row) while it was not hidden below the ground."""
        return ((tick, row) for tick, row in zip(self.ticks, self.rows) if row[2] > HIDDEN_BELOW)

    def at(self, tick: int) -> tuple[float, float, float, float, float] | None:
        """Its row at a tick."""
        return self.rows[tick - self.ticks[0]] if self.ticks and self.ticks[0] <= tick <= self.ticks[-1] else None


@dataclass
class Film:
    """All that moved on one route.

    Attributes:
        scene: What was asked for.
        points: (N, 3) x, y (metres) and yaw (radians) of the route.
        trigger: Route metre of the trigger.
        info: The scenario's record when it was triggered.
        triggered, ended: Ticks, None if it never came to that.
        ego: Its track.
        parts: Tracks of the scenario's actors.
        stream: Tracks of vehicles that the scenario sent on their way.
        traffic: Tracks of background cars.
        own_light, other_lights: States per tick of the light at the ego's entry and of the others at that junction.
        in_junction: Whether the ego was in a junction, per tick.
        steering: What was asked in the tick before and what the ego then did, per tick.
        events: What the criteria said.
        left_over: Models of what was still there after the release.
    """

    scene: Scene
    points: np.ndarray
    trigger: float = 0.0
    info: ScenarioInfo | None = None
    triggered: int | None = None
    ended: int | None = None
    ego: Track = field(default_factory=lambda: Track("ego", "hero"))
    parts: dict[str, Track] = field(default_factory=dict)
    stream: dict[int, Track] = field(default_factory=dict)
    traffic: dict[int, Track] = field(default_factory=dict)
    own_light: list[Any] = field(default_factory=list)
    other_lights: list[list[Any]] = field(default_factory=list)
    in_junction: list[bool] = field(default_factory=list)
    steering: list[tuple[float, float]] = field(default_factory=list)
    events: Counter[TrafficEventType] = field(default_factory=Counter)
    left_over: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = np.hypot(*np.diff(self.points[:, :2], axis=0).T)
        self.lengths = np.concatenate([[0.0], np.cumsum(steps)])

    def project(self, x: float, y: float) -> tuple[float, float]:
        """(metres along the route from the trigger, metres to its right) of a place."""
        index = int(np.hypot(self.points[:, 0] - x, self.points[:, 1] - y).argmin())
        px, py, yaw = self.points[index]
        ahead = (x - px) * math.cos(yaw) + (y - py) * math.sin(yaw)
        right = -(x - px) * math.sin(yaw) + (y - py) * math.cos(yaw)
        return float(self.lengths[index] - self.trigger + ahead), float(right)

    def index_at(self, along: float) -> int:
        """The route point nearest to a route metre, counted from the trigger."""
        return int(np.abs(self.lengths - self.trigger - along).argmin())

    def since(self, tick: int) -> float:
        """Seconds from the trigger to a tick."""
        assert self.triggered is not None
        return (tick - self.triggered) * TICK

    def active(self) -> range:
        """Ticks from the trigger to the end."""
        assert self.triggered is not None
        return range(self.triggered, self.ended if self.ended is not None else len(self.ego.ticks))

    def left_junction(self) -> int:
        """Tick at which the ego had crossed its first junction after the trigger."""
        assert self.triggered is not None
        inside = self.in_junction[self.triggered :]
        assert True in inside, "the ego came into no junction"
        entered = inside.index(True)
        assert False in inside[entered:], "the ego is still in the junction"
        return self.triggered + entered + inside[entered:].index(False)

    def ego_gap(self, track: Track, tick: int) -> float:
        """How far an actor is ahead of the ego in its direction, metres."""
        x, y, _, yaw, _ = self.ego.rows[tick]
        row = track.at(tick)
        assert row is not None
        return (row[0] - x) * math.cos(math.radians(yaw)) + (row[1] - y) * math.sin(math.radians(yaw))


class Shoot:
    """One scene being driven on a server."""

    def __init__(self, client: carla.Client, scene: Scene) -> None:
        self.scene, self.client = scene, client
        config = scene.config()
        self.world = self._load(config.town)
        manager = client.get_trafficmanager(CarlaDataProvider.get_traffic_manager_port())
        manager.set_synchronous_mode(True)
        manager.set_hybrid_physics_mode(True)
        manager.set_random_device_seed(SEED)
        self.manager = manager
        self.world.tick()
        CarlaDataProvider.on_carla_tick()
        self.route = RouteScenario(client, config, scene.rules, SEED, manager if scene.has_traffic else None)
        assert not self.route.build_failures, self.route.build_failures
        (self.scenario,) = self.route.scenarios
        points = [(t.location.x, t.location.y, math.radians(t.rotation.yaw)) for t, _ in self.route.route]
        self.film = Film(scene, np.array(points))
        place = config.scenario_configs[0].trigger_points[0].location
        self.film.trigger = self.film.project(place.x, place.y)[0]
        self.parts = {actor.id: part for part, actor in self.scenario.actors.items()}
        self.follower = RouteFollower(self.route.route)
        self.index, self.stood_s, self.released, self.asked = 0, 0.0, False, 0.0
        self.has_stopped = False
        self.lights, self.stop_at = self._lights()
        self.sign_at = self._sign()
        GameTime.restart()

    def _load(self, town: str) -> carla.World:
        world = self.client.load_world(town, reset_settings=False)
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
        world.apply_settings(settings)
        blackboard.clear()
        CarlaDataProvider.set_client(self.client)
        CarlaDataProvider.set_random_seed(SEED)
        CarlaDataProvider.set_world(world)
        CarlaDataProvider.set_traffic_manager_port(free_port())
        return world

    def _lights(self) -> tuple[list[carla.TrafficLight], float]:
        """Lights of the first junction after the trigger, the ego's first, and the route metre of its stop line."""
        best: tuple[float, Any] | None = None
        for light in self.world.get_actors().filter("traffic.traffic_light*"):
            for waypoint in light.get_stop_waypoints():
                pose = waypoint.transform
                along, right = self.film.project(pose.location.x, pose.location.y)
                turn = math.radians(pose.rotation.yaw) - self.film.points[self.film.index_at(along), 2]
                on_route = abs(right) < 1.5 and math.cos(turn) > 0.9 and along > 0.0
                if on_route and (best is None or along < best[0]):
                    best = (along, light)
        if best is None:
            return [], math.inf
        group = [light for light in best[1].get_group_traffic_lights() if light.id != best[1].id]
        return [best[1], *group], best[0]

    def _sign(self) -> float:
        """Route metre of the first stop sign after the trigger."""
        places = []
        for sign in self.world.get_actors().filter("traffic.stop"):
            at = sign.get_transform().transform(sign.trigger_volume.location)
            lane = self.route.context.map.get_waypoint(at).transform
            along, right = self.film.project(lane.location.x, lane.location.y)
            turn = math.radians(lane.rotation.yaw) - self.film.points[self.film.index_at(along), 2]
            if abs(right) < 1.5 and math.cos(turn) > 0.9 and along > 0.0:
                places.append(along)
        return min(places, default=math.inf)

    # ---- driving ------------------------------------------------------------------------------------------------

    def run(self) -> Film:
        """Drive until the scenario has ended, the route is over or time is up; then release everything."""
        try:
            for tick in range(round(self.scene.most_s / TICK)):
                is_running = self._tick(tick)
                if self._cut_at(tick) <= tick or not is_running:
                    break
            self.route.stop()
            for event in self.route.events():
                if event.type not in SILENT:
                    self.film.events[event.type] += 1
        finally:
            self._release()
        return self.film

    def _cut_at(self, tick: int) -> int:
        """The tick at which nothing more is to be seen: the scenario has ended, or the ego has hit whom it wanted to hit."""
        if self.film.ended is not None:
            return self.film.ended + AFTERMATH
        if self.film.triggered is None:
            return tick + 1
        since = self.film.triggered * TICK
        hits = [event for event in self.route.events() if event.type in HITS and event.time_s > since]
        return round(hits[0].time_s / TICK) + AFTERMATH if self._wants_to_hit and hits else tick + 1

    @property
    def _wants_to_hit(self) -> bool:
        return bool(self.scene.ego.ram) or self.scene.ego.creep_from is not None

    def _tick(self, tick: int) -> bool:
        self.world.tick()
        GameTime.on_carla_tick(self.world.get_snapshot().timestamp)
        CarlaDataProvider.on_carla_tick()
        control = self._control()
        self.film.steering.append((self.asked, float(self.route.ego.get_control().steer)))
        self.asked = control.steer
        self.route.ego.apply_control(control)
        blackboard.set(blackboard.CONTROL, control)
        is_running = self.route.tick()
        self._record(tick)
        return is_running

    def _control(self) -> carla.VehicleControl:
        script, ego = self.scene.ego, self.route.ego
        speed, pose = CarlaDataProvider.get_velocity(ego), copy_transform(CarlaDataProvider.get_transform(ego))
        along = self._advance(pose.location)
        target = self._speed(along, speed, pose)
        victim = self._victim(pose) if script.ram and self.film.triggered is not None else None
        if victim is not None:
            steer = RouteFollower([(victim, None)]).steer(pose, speed)  # type: ignore[list-item]
        else:
            if script.aside and script.aside[0] <= along <= script.aside[1] and not self._is_halting():
                right = pose.get_right_vector()
                pose.location -= carla.Location(right.x * script.aside[2], right.y * script.aside[2], 0.0)
            steer = self.follower.steer(pose, speed)
        throttle, brake = pedals(speed, target)
        return carla.VehicleControl(throttle=throttle, brake=brake, steer=steer)

    def _advance(self, location: carla.Location) -> float:
        window = self.film.points[self.index : self.index + 20, :2]
        self.index += int(np.hypot(window[:, 0] - location.x, window[:, 1] - location.y).argmin())
        return float(self.film.lengths[self.index] - self.film.trigger)

    def _is_halting(self) -> bool:
        return self.scene.ego.halt_at is not None and not self.released

    def _speed(self, along: float, speed: float, pose: carla.Transform) -> float:
        script = self.scene.ego
        target = script.speed
        if script.creep_from is not None:
            target = min(target, max(CREEP, stopping_speed(script.creep_from - along)))
        if self._is_halting():
            assert script.halt_at is not None
            target = min(target, stopping_speed(script.halt_at - along))
            self.stood_s += TICK if speed < 0.2 and target == 0.0 else 0.0
            self.released = self.stood_s >= script.halt_s and self._other_lane_is_free(along)
        target = min(target, self._speed_for_signs(along, speed)) if script.obeys else target
        if script.sees:
            target = min(target, stopping_speed(self._room(pose) - 3.0))
        return target

    def _speed_for_signs(self, along: float, speed: float) -> float:
        is_green = not self.lights or self.lights[0].get_state() == carla.TrafficLightState.Green
        self.has_stopped |= speed < 0.05 and 0.0 < self.sign_at - along < 4.0
        lines = [self.stop_at - 3.0] if not is_green and along < self.stop_at else []
        lines += [self.sign_at - 2.0] if not self.has_stopped else []
        return stopping_speed(min(lines) - along) if lines else math.inf

    def _other_lane_is_free(self, along: float) -> bool:
        script = self.scene.ego
        if script.aside is None:
            return True
        for actor in CarlaDataProvider.get_all_actors():
            if actor.type_id.startswith("vehicle.") and actor.id != self.route.ego.id:
                at = CarlaDataProvider.get_location(actor)
                ahead, right = self.film.project(at.x, at.y)
                beside = math.copysign(right, right * script.aside[2])
                if -8.0 < ahead - along < script.gap and 0.5 * LANE < beside < 1.5 * LANE:
                    return False
        return True

    def _room(self, pose: carla.Transform) -> float:
        """Metres from the ego's bumper to the nearest thing ahead, at most its sight."""
        ego, found = self.route.ego, SIGHT
        for actor in CarlaDataProvider.get_all_actors():
            if actor.id == ego.id or not actor.type_id.startswith(("vehicle.", "walker.", "static.prop")):
                continue
            at = CarlaDataProvider.get_location(actor)
            offset = at - pose.location
            ahead = offset.dot(pose.get_forward_vector())
            aside = offset.dot(pose.get_right_vector())
            if 0.0 < ahead < SIGHT and abs(aside) < CORRIDOR and abs(offset.z) < 5.0:
                found = min(found, ahead - actor.bounding_box.extent.x - ego.bounding_box.extent.x)
        return found

    def _victim(self, pose: carla.Transform) -> carla.Transform | None:
        """Where the nearest of those is whom the ego steers at."""
        wanted = self.scene.ego.ram
        tracks = {"stream": self.film.stream, "traffic": self.film.traffic}
        near: list[tuple[float, carla.Transform]] = []
        for actor in CarlaDataProvider.get_all_actors():
            if self.parts.get(actor.id) == wanted or actor.id in tracks.get(wanted, {}):
                at = CarlaDataProvider.get_transform(actor)
                offset = at.location - pose.location
                if offset.dot(pose.get_forward_vector()) > 0.0 and offset.length() < 30.0:
                    near.append((offset.length(), at))
        return min(near, key=lambda row: row[0])[1] if near else None

    # ---- recording ----------------------------------------------------------------------------------------------

    def _record(self, tick: int) -> None:
        film, phase = self.film, self.scenario.phase
        if phase is ScenarioPhase.ACTIVE and film.triggered is None:
            film.triggered, film.info = tick, self.scenario.info()
        if phase is ScenarioPhase.ENDED and film.ended is None:
            film.ended = tick
        for actor in CarlaDataProvider.get_all_actors():
            track = self._track(actor)
            if track is not None and actor.is_alive:
                pose = CarlaDataProvider.get_transform(actor)
                at = pose.location
                track.ticks.append(tick)
                track.rows.append((at.x, at.y, at.z, pose.rotation.yaw, CarlaDataProvider.get_velocity(actor)))
        here = self.route.context.map.get_waypoint(CarlaDataProvider.get_location(self.route.ego))
        film.in_junction.append(here is not None and here.is_junction)
        states = [light.get_state() for light in self.lights]
        film.own_light.append(states[0] if states else None)
        film.other_lights.append(states[1:])

    def _track(self, actor: Any) -> Track | None:
        film = self.film
        if actor.id == self.route.ego.id:
            return film.ego
        if actor.id in self.parts:
            return film.parts.setdefault(self.parts[actor.id], Track(actor.type_id, ""))
        for known in (film.stream, film.traffic):
            if actor.id in known:
                return known[actor.id]
        role = actor.attributes.get("role_name", "")
        if role == "background":
            return film.traffic.setdefault(actor.id, Track(actor.type_id, role))
        if role in ("scenario", "scenario no lights"):
            return film.stream.setdefault(actor.id, Track(actor.type_id, role))
        return None

    def _release(self) -> None:
        self.route.release()
        self.world.tick()
        kinds = ("vehicle.", "walker.", "static.prop")
        left = [actor for actor in self.world.get_actors() if actor.type_id.startswith(kinds)]
        self.film.left_over = [actor.type_id for actor in left if actor.id != self.route.ego.id]
        CarlaDataProvider.cleanup()
        self.world.tick()
        self.manager.shut_down()


def stopping_speed(way: float) -> float:
    """The highest speed from which a stop within ``way`` metres is comfortable, m/s."""
    return math.sqrt(2.0 * COMFORT_BRAKE * way) if way > 0.3 else 0.0


def check(client: carla.Client, scene: Scene) -> None:
    """Drive a scene: it is triggered once, at its place, shows its facts, says what it must, and leaves nothing."""
    shoot = Shoot(client, scene)
    film = shoot.run()
    scenario, route = shoot.scenario, shoot.route
    assert route.triggered == [scenario.name], "the trigger was not reached"
    assert scenario.failure == ""
    assert film.triggered is not None
    x, y = film.ego.rows[film.triggered][:2]
    assert abs(film.project(x, y)[0]) < 4.0 or film.triggered < 3, "triggered at another place"
    assert film.info is not None
    assert (film.info.type, film.info.phase) == (scene.type, ScenarioPhase.ACTIVE)
    for fact in scene.shows:
        fact(film)
    assert scene.says <= set(film.events) <= scene.says | scene.may, film.events
    assert film.left_over == []
    assert route.context.traffic.holders == {}
    assert CarlaDataProvider.get_scenario_infos() == []


def scenes_test(town: str, scenes: Sequence[Scene]) -> Callable[..., None]:
    """A test that drives the scenes of a town; bind it to a name that pytest collects."""

    @pytest.mark.parametrize("scene", scenes, ids=lambda scene: scene.name)
    def test(carla_server_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
        monkeypatch.setattr(basic_scenario, "SCENARIO_TIMEOUT_S", scene.timeout_s)
        check(carla_server_process(town).client(), scene)

    return test
