from __future__ import annotations

import dataclasses
import signal
import socket
import threading
import time

import carla
import numpy as np
import pytest
from py_trees.common import Status

from driving.commands import RoadOption
from leaderboard.scenarios.route_behaviors import (
    RouteTimeout,
    ScenarioTriggerer,
    interpolate_weather,
    is_night,
    variable_is,
)
from leaderboard.scenarios.route_scenario import on_route
from leaderboard.scenarios.watchdog import Stage as Task
from leaderboard.scenarios.watchdog import Watchdog, server_answers
from srunner.scenarioconfigs.route_scenario_configuration import WeatherKeypoint
from srunner.scenariomanager import blackboard
from srunner.tools.route_progress import RouteProgress, accumulated_distance
from tests.leaderboard.scripted import Stage, along, pose, straight

# ---- progress along the route -----------------------------------------------------------------------------------------


def test_progress_never_jumps_and_never_goes_back() -> None:
    progress = RouteProgress(straight(50), window=2)
    assert progress.advance(carla.Location(40.5, 0.0, 0.0)) == 2.0
    assert progress.advance(carla.Location(0.5, 0.0, 0.0)) == 0.0
    assert progress.index == 2
    for x in np.arange(0.0, 30.6, 0.5):
        progress.advance(carla.Location(float(x), 0.0, 0.0))
    assert progress.index == 30
    assert progress.distance == pytest.approx(30.0)


def test_points_that_occur_twice_take_room_in_the_window() -> None:
    points = [pose(float(x)) for x in (0, 1, 1, 2, 2, 3, 3, 4)]
    progress = RouteProgress(points, window=2)
    progress.advance(carla.Location(4.5, 0.0, 0.0))
    assert progress.distance == 1.0
    assert progress.length == 4.0


def test_distance_is_three_dimensional() -> None:
    np.testing.assert_allclose(accumulated_distance(np.array([[0, 0, 0], [3, 4, 0], [3, 4, 12]])), [0, 5, 17])


# ---- triggering -------------------------------------------------------------------------------------------------------


def test_scenario_is_triggered_once_by_the_route_point_near_it(stage: Stage) -> None:
    """The ego is 4 m beside the route: it is the route point, not the ego, that must be near the trigger."""
    triggerer = ScenarioTriggerer(stage.ego, straight(100))
    triggerer.add("ScenarioRouteNumber0", carla.Location(50.0, 0.5, 0.0))
    for ego in along(0, 60, 0.5, y=4.0):
        stage.ego.place(ego, 5.0)
        triggerer.tick_once()
        if blackboard.get("ScenarioRouteNumber0"):
            break
    assert stage.ego.pose.location.x == pytest.approx(48.5, abs=1.0)
    assert triggerer.triggered == ["ScenarioRouteNumber0"]
    blackboard.set("ScenarioRouteNumber0", False)
    stage.ego.place(pose(50.0), 5.0)
    triggerer.tick_once()
    assert blackboard.get("ScenarioRouteNumber0") is False


def test_variable_is_waited_for() -> None:
    waiting = variable_is("x", True)
    blackboard.clear()
    waiting.tick_once()
    assert waiting.status is Status.RUNNING
    blackboard.set("x", True)
    waiting.tick_once()
    assert waiting.status is Status.SUCCESS
    blackboard.clear()


@pytest.mark.parametrize(
    ("offset", "turn_deg", "signed", "found"),
    [
        ((0.0, 1.9, 0.0), 0.0, True, True),
        ((0.0, 2.1, 0.0), 0.0, True, False),
        ((0.0, 0.0, 0.0), 9.0, True, True),
        ((0.0, 0.0, 0.0), 11.0, True, False),
        ((0.0, 0.0, 0.0), -351.0, True, True),
        ((0.0, 0.0, 2.1), 0.0, True, False),
        ((0.0, 0.0, -50.0), 0.0, True, True),
        ((0.0, 0.0, -50.0), 0.0, False, False),
    ],
)
def test_triggers_must_lie_on_the_route(
    offset: tuple[float, float, float], turn_deg: float, signed: bool, found: bool
) -> None:
    route = [(transform, RoadOption.LANEFOLLOW) for transform in straight(20)]
    place = carla.Location(10.0 + offset[0], offset[1], offset[2])
    assert on_route(carla.Transform(place, carla.Rotation(yaw=turn_deg)), route, signed) is found


# ---- weather and light ------------------------------------------------------------------------------------------------


def weather(**values: float) -> carla.WeatherParameters:
    return carla.WeatherParameters(**{"sun_altitude_angle": 70.0, **values})


def test_weather_is_linear_between_keypoints_and_constant_beyond() -> None:
    keypoints = [WeatherKeypoint(20.0, weather(cloudiness=0.0)), WeatherKeypoint(60.0, weather(cloudiness=80.0))]
    clouds = [w.cloudiness for w in interpolate_weather(keypoints, [0.0, 20.0, 30.0, 60.0, 100.0])]
    assert clouds == [0.0, 0.0, 20.0, 80.0, 80.0]


@pytest.mark.parametrize(
    ("values", "night"),
    [
        ({"sun_altitude_angle": 15.1}, False),
        ({"sun_altitude_angle": 14.9}, True),
        ({"sun_altitude_angle": 165.1}, True),
        ({"cloudiness": 80.0}, False),
        ({"cloudiness": 80.1}, True),
        ({"fog_density": 40.1}, True),
        ({"sun_altitude_angle": 24.9}, False),
        ({"sun_altitude_angle": 24.9, "cloudiness": 70.1}, True),
        ({"cloudiness": 70.1, "fog_density": 30.1}, True),
        ({"cloudiness": 69.9, "fog_density": 30.1}, False),
    ],
)
def test_night_rule(values: dict[str, float], night: bool) -> None:
    assert is_night(weather(**values)) is night


# ---- time -------------------------------------------------------------------------------------------------------------


def test_time_grows_with_the_way_at_a_tenth_of_the_limit(stage: Stage) -> None:
    """The scripted limit is 36 km/h: each metre earns one second on top of 300."""
    timeout = RouteTimeout(stage.ego, straight(100))
    for ego in along(0, 50.5, 0.5):
        stage.ego.place(ego, 5.0)
        timeout.tick_once()
    assert timeout.timeout_s == pytest.approx(350.0)
    assert timeout.event is None


def test_route_ends_when_its_time_is_over(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouteTimeout, "START_S", 1.0)
    timeout = RouteTimeout(stage.ego, straight(100))
    stage.ego.place(pose(0.0), 0.0)
    ticks = 0
    while timeout.status is not Status.SUCCESS:
        stage._advance()
        timeout.tick_once()
        ticks += 1
    assert ticks * 0.05 == pytest.approx(1.0, abs=0.051)
    assert timeout.event is not None


# ---- the watchdog -----------------------------------------------------------------------------------------------------


def test_watchdog_interrupts_a_sleeping_main_thread() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watchdog = Watchdog("127.0.0.1", 1, 0.3, lambda stage, message: None)
    try:
        watchdog.enter(Task.AGENT)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
        assert time.monotonic() - started < 5
        assert watchdog.failure is not None
        assert watchdog.failure[0] is Task.AGENT
        watchdog.clear()
        assert watchdog.failure is None
    finally:
        watchdog.stop()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("has_reacted", [True, False])
def test_watchdog_ends_who_did_not_react_and_leaves_time_to_who_did(
    monkeypatch: pytest.MonkeyPatch, has_reacted: bool
) -> None:
    """Who left the stage that took too long may clean up for as long as any other stage may take."""
    monkeypatch.setattr("leaderboard.scenarios.watchdog.CHECK_PERIOD_S", 0.02)
    monkeypatch.setattr("leaderboard.scenarios.watchdog.GRACE_S", 0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    told = threading.Event()
    watchdog = Watchdog("127.0.0.1", 1, 2.0, lambda stage, message: told.set())
    try:
        watchdog.enter(Task.AGENT)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
        assert watchdog.has_interrupted
        if has_reacted:
            watchdog.reacted()
        watchdog.enter(Task.SIMULATION)
        assert told.wait(0.7) != has_reacted
        watchdog.enter(Task.IDLE)
        assert watchdog.failure is not None
    finally:
        watchdog.stop()
        signal.signal(signal.SIGINT, before)


def test_watchdog_notices_a_dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.scenarios.watchdog.PROBE_AFTER_S", 0.1)
    monkeypatch.setattr("leaderboard.scenarios.watchdog.PROBE_PERIOD_S", 0.0)
    told = threading.Event()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        watchdog = Watchdog("127.0.0.1", port, 60.0, lambda stage, message: told.set())
        watchdog.enter(Task.SIMULATION)
        assert told.wait(10.0)
        watchdog.stop()


def test_busy_server_is_not_a_dead_one() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        assert server_answers("127.0.0.1", listening.getsockname()[1])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not server_answers("127.0.0.1", closed.getsockname()[1])


def test_rules_cannot_be_changed_by_accident() -> None:
    from leaderboard.rules import BENCH2DRIVE

    with pytest.raises(dataclasses.FrozenInstanceError):
        BENCH2DRIVE.blocked_after_s = 1.0  # type: ignore[misc]
