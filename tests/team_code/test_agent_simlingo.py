"""The SimLingo agent without a simulator: sensors in, prompt and control out, with a stand-in for the model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import carla
import numpy as np
import pytest
import torch

from driving.camera import cut_bonnet
from driving.commands import RoadOption
from leaderboard.utils.route_manipulation import GpsPlan
from simlingo_training.inference import Observation, Prediction
from srunner.scenarioconfigs.scenario_configuration import RoutePlan
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code import agent_simlingo
from team_code.agent_config import AgentConfig
from team_code.agent_simlingo import SimLingoAgent
from team_code.drive_log import read_drive_log
from team_code.prompting import Navigation, Verdict, verdict
from team_code.route_planner import PlanPoint

METRES_PER_DEGREE = math.pi * 6378137.0 / 180


class StraightPolicy:
    """Wants to go straight at 5 m/s and remembers what it was shown."""

    sees_bonnet = True

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: Observation) -> Prediction:
        self.seen.append(observation)
        ahead = np.stack([np.arange(20.0), np.zeros(20)], axis=1).astype(np.float32)
        waypoints = np.stack([np.arange(1, 11) * 1.25, np.zeros(10)], axis=1).astype(np.float32)
        return Prediction(ahead, waypoints, "Follow the road. Waypoints:", (), {"vision": 1.0})


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> StraightPolicy:
    stand_in = StraightPolicy()
    monkeypatch.setattr(agent_simlingo, "load_policy_once", lambda *arguments: stand_in)
    monkeypatch.setattr(CarlaDataProvider, "get_hero_actor", lambda: None)
    return stand_in


def make_agent(tmp_path: Path, options: str = "") -> SimLingoAgent:
    """An agent whose plan leads 200 m along +x with a left turn in the middle."""
    (tmp_path / "agent.yaml").write_text(f"checkpoint: {tmp_path}\n{options}")
    agent = SimLingoAgent("localhost", 2000)
    agent.setup(f"{tmp_path / 'agent.yaml'}+save")
    agent._global_plan, agent._global_plan_world_coord = route_plan()
    return agent


def route_plan() -> tuple[GpsPlan, RoutePlan]:
    """A plan of 200 m along +x with a left turn in the middle: GPS and world."""
    commands = {0: RoadOption.LANEFOLLOW, 40: RoadOption.LEFT, 90: RoadOption.LANEFOLLOW, 200: RoadOption.LANEFOLLOW}
    gps = [({"lat": 0.0, "lon": x / METRES_PER_DEGREE, "z": 0.0}, c) for x, c in commands.items()]
    return gps, [(carla.Transform(carla.Location(x, 0, 0)), c) for x, c in commands.items()]


def sensors(x: float, speed: float) -> dict[str, tuple[int, Any]]:
    """Driving east at ``x`` metres."""
    image = np.full((512, 1024, 4), 120, dtype=np.uint8)
    imu = np.array([0, 0, 9.81, 0, 0, 0, math.pi / 2])
    gnss = np.array([0.0, x / METRES_PER_DEGREE, 0.0])
    return {"rgb_0": (1, image), "imu": (1, imu), "gps": (1, gnss), "speed": (1, {"speed": speed})}


def test_first_tick_brakes_and_later_ticks_drive(tmp_path: Path, policy: StraightPolicy) -> None:
    agent = make_agent(tmp_path)
    first = agent.run_step(sensors(0, 0), 0.0)
    assert (first.throttle, first.brake) == (0.0, 1.0)
    assert policy.seen == []
    control = agent.run_step(sensors(0, 0), 0.05)
    assert control.throttle > 0
    assert control.brake == 0
    assert control.steer == pytest.approx(0, abs=1e-3)
    assert policy.resets == 1


def test_routes_without_save_names_keep_logs_of_their_own(
    tmp_path: Path, policy: StraightPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official benchmarks name no folder; the report looks for the id of the run."""
    monkeypatch.setenv("SAVE_PATH", str(tmp_path / "out"))
    for route_id in ("7", "7", "8"):
        agent = SimLingoAgent("localhost", 2000)
        agent.route_id = route_id
        agent.setup(str(tmp_path))
        agent.destroy()
    logs = sorted(path.parent.name for path in (tmp_path / "out").glob("*/drive.jsonl"))
    assert logs == ["RouteScenario_7_rep0", "RouteScenario_7_rep1", "RouteScenario_8_rep0"]


def test_model_sees_target_points_in_the_ego_frame(tmp_path: Path, policy: StraightPolicy) -> None:
    agent = make_agent(tmp_path)
    for _ in range(2):
        agent.run_step(sensors(10, 4.26), 0.0)
    observation = policy.seen[0]
    np.testing.assert_allclose(observation.target_points, [[30, 0], [80, 0]], atol=0.3)
    assert observation.image.shape == (512, 1024, 3)
    assert observation.prompt == (
        "Current speed: 4.3 m/s. Target waypoint: <TARGET_POINT><TARGET_POINT>. What should the ego do next?"
    )


def test_a_model_that_never_sees_the_bonnet_gets_the_same_rest_of_the_image(
    tmp_path: Path, policy: StraightPolicy
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 1024, 4), dtype=np.uint8)
    for sees_bonnet in (True, False):
        policy.sees_bonnet = sees_bonnet
        agent = make_agent(tmp_path)
        for _ in range(2):
            agent.run_step({**sensors(10, 4.0), "rgb_0": (1, noise)}, 0.0)
    whole, rest = policy.seen
    assert (whole.is_cut, rest.is_cut) == (False, True)
    np.testing.assert_array_equal(rest.image, cut_bonnet(whole.image))


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        (
            "commentary: false",
            "Current speed: 4.0 m/s. Target waypoint: <TARGET_POINT><TARGET_POINT>. Predict the waypoints.",
        ),
        (
            "route_as: command",
            "Current speed: 4.0 m/s. Command: go left at the next intersection in ",
        ),
        ("instruction: Turn.\nsafety: true\nnavigation: false", "<SAFETY> Current speed: 4.0 m/s. Turn."),
        (
            "instruction: Turn.\nsafety: false",
            "<INSTRUCTION_FOLLOWING> Current speed: 4.0 m/s. Target waypoint: <TARGET",
        ),
    ],
)
def test_options_choose_the_prompt(tmp_path: Path, policy: StraightPolicy, options: str, prompt: str) -> None:
    agent = make_agent(tmp_path, options)
    for _ in range(2):
        agent.run_step(sensors(10, 4.0), 0.0)
    assert policy.seen[0].prompt.startswith(prompt)


def test_turn_is_remembered_inside_the_junction() -> None:
    navigation = Navigation("command")
    left, follow = (PlanPoint(np.zeros(2), c) for c in (RoadOption.LEFT, RoadOption.LANEFOLLOW))
    assert "go left" in navigation.sentence(left, follow, 12.0)
    assert (
        navigation.sentence(follow, follow, 40.0) == "Command: go left at the next intersection then follow the road."
    )


@pytest.mark.parametrize(("options", "limit"), [("", 800), ("stuck_s: 5", 100)])
def test_standing_for_forty_seconds_or_as_told_makes_the_car_creep(
    tmp_path: Path, policy: StraightPolicy, options: str, limit: int
) -> None:
    agent = make_agent(tmp_path, options)
    standing = Prediction(np.zeros((20, 2), np.float32), np.zeros((10, 2), np.float32), "")
    policy.act = lambda observation: standing  # type: ignore[method-assign]
    agent.run_step(sensors(0, 0.0), 0.0)
    controls = [agent.run_step(sensors(0, 0.0), 0.05 * tick) for tick in range(1, limit + 2)]
    assert all(control.brake == 1 for control in controls[:-1])
    assert (controls[-1].throttle, controls[-1].brake) == (pytest.approx(0.4), 0.0)


def test_published_profile_rounds_the_speed(tmp_path: Path, policy: StraightPolicy) -> None:
    agent = make_agent(tmp_path, "profile: published")
    for _ in range(2):
        agent.run_step(sensors(0, -0.04), 0.0)
    assert policy.seen[0].prompt.startswith("Current speed: -0.0 m/s.")


def test_drive_is_logged_where_the_benchmark_expects_it(
    tmp_path: Path, policy: StraightPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVE_PATH", str(tmp_path / "out"))
    agent = make_agent(tmp_path)
    for step in range(12):
        agent.run_step(sensors(step * 0.25, 5.0), 0.05 * step)
    agent.destroy()
    frames = list(read_drive_log(tmp_path / "out" / "save"))
    assert [frame.step for frame in frames] == list(range(1, 12))
    assert [frame.step for frame in frames if frame.image] == [5, 10]
    assert (tmp_path / "out" / "save" / "frames" / "000005.jpg").stat().st_size > 1000
    assert {"localise", "preprocess", "vision", "control"} <= frames[0].stage_ms.keys()


def test_a_log_without_pictures_is_an_option(
    tmp_path: Path, policy: StraightPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVE_PATH", str(tmp_path / "out"))
    agent = make_agent(tmp_path, "images_per_second: 0")
    for step in range(12):
        agent.run_step(sensors(step * 0.25, 5.0), 0.05 * step)
    agent.destroy()
    assert [frame.image for frame in read_drive_log(tmp_path / "out" / "save")] == [None] * 11
    assert not list((tmp_path / "out" / "save" / "frames").iterdir())


def test_a_decision_acts_after_the_delay(tmp_path: Path, policy: StraightPolicy) -> None:
    """With 0.2 s of latency the model is asked in every fourth tick, and the first decision acts four ticks later."""
    agent = make_agent(tmp_path, "latency: 0.2")
    controls = [agent.run_step(sensors(0.1 * tick, 1.0), 0.05 * tick) for tick in range(13)]
    assert len(policy.seen) == 3
    assert [control.brake for control in controls[:5]] == [1.0] * 5
    assert all(control.throttle > 0 for control in controls[5:])
    undelayed = make_agent(tmp_path)
    direct = [undelayed.run_step(sensors(0.1 * tick, 1.0), 0.05 * tick) for tick in range(2)]
    assert controls[5].throttle == direct[1].throttle


def test_plan_can_be_thinned_as_in_the_recorded_data(tmp_path: Path, policy: StraightPolicy) -> None:
    agent = make_agent(tmp_path, "plan_spacing_m: 200")
    dense = range(0, 201, 2)
    agent.org_dense_route_gps = [
        ({"lat": 0.0, "lon": x / METRES_PER_DEGREE, "z": 0.0}, RoadOption.LANEFOLLOW) for x in dense
    ]
    agent.org_dense_route_world_coord = [
        (carla.Transform(carla.Location(x, 0, 0)), RoadOption.LANEFOLLOW) for x in dense
    ]
    for _ in range(2):
        agent.run_step(sensors(10, 4.0), 0.0)
    np.testing.assert_allclose(policy.seen[0].target_points, [[190, 0], [190, 0]], atol=0.5)


@pytest.mark.parametrize(
    ("option", "dropout"),
    [("", False), ("profile: published", True), ("profile: published\ndropout: false", False), ("dropout: true", True)],
)
def test_dropout_follows_the_profile_unless_set(tmp_path: Path, option: str, dropout: bool) -> None:
    (tmp_path / "agent.yaml").write_text(option)
    assert AgentConfig.parse(str(tmp_path / "agent.yaml"))[0].keeps_dropout is dropout


def test_what_dropout_draws_depends_on_run_and_tick_alone(tmp_path: Path, policy: StraightPolicy) -> None:
    """Not on what else this process has drawn, for example by loading the model before its first route."""

    def drive(seed: int, before: int, options: str = "profile: published") -> list[int | None]:
        policy.seen.clear()
        torch.manual_seed(seed)
        torch.rand(before)
        agent = make_agent(tmp_path, options)
        for tick in range(4):
            agent.run_step(sensors(0.1 * tick, 1.0), 0.05 * tick)
            torch.rand(before)
        return [seen.seed for seen in policy.seen]

    first = drive(1, before=0)
    assert len(set(first)) == 3
    assert drive(1, before=7) == first
    assert not set(drive(2, before=0)) & set(first)
    assert drive(1, 0, "profile: default") == [None] * 3


@pytest.mark.parametrize(
    ("option", "ticks"),
    [("", 5), ("profile: published", 1), ("text_every: 2", 2), ("profile: published\ntext_every: 3", 3)],
)
def test_rate_of_text_follows_the_profile_unless_set(tmp_path: Path, option: str, ticks: int) -> None:
    (tmp_path / "agent.yaml").write_text(option)
    assert AgentConfig.parse(str(tmp_path / "agent.yaml"))[0].text_ticks == ticks


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Following the given instruction. Waypoints:", Verdict.FOLLOWED),
        ("I cannot do that because of the red light. Waypoints:", Verdict.REFUSED),
        ("Waypoints:", Verdict.NO_ANSWER),
    ],
)
def test_answers_to_instructions_are_read(answer: str, expected: Verdict) -> None:
    assert verdict(answer) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency: soon", "latency is"),
        ("plan_spacing_m: 0", "above 0"),
        ("profile: fast", "profile is one of"),
        ("route_as: map", "route_as is"),
        ("text_every: 0", "at least 1"),
        ("images_per_second: -1", "at least 0"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        AgentConfig.parse(str(tmp_path / "agent.yaml"))


def test_missing_checkpoint_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        AgentConfig.parse("nowhere+save")
