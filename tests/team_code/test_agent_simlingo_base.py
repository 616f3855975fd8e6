"""The SimLingo-Base agent: the driver of SimLingo around a model without language."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from driving.camera import jpeg_round_trip
from simlingo_base_training.model import SimLingoBase
from simlingo_base_training.policy import BasePolicy
from simlingo_base_training.training import BaseCheckpoint
from simlingo_training.config import BaseModelSettings
from simlingo_training.inference import Observation
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code import agent_simlingo_base
from team_code.agent_simlingo_base import SimLingoBaseAgent
from team_code.policy_server import load_batch_policy
from tests.team_code.test_agent_simlingo import route_plan, sensors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SimLingo-Base checkpoint with random weights."""
    torch.manual_seed(0)
    settings = BaseModelSettings(backbone="tiny", equalise=True)
    return BaseCheckpoint(SimLingoBase(settings), settings).save(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CarlaDataProvider, "get_hero_actor", lambda: None)


def make_agent(folder: Path, checkpoint: Path, options: str = "") -> SimLingoBaseAgent:
    (folder / "agent.yaml").write_text(f"checkpoint: {checkpoint}\ndevice: cpu\n{options}")
    agent = SimLingoBaseAgent("localhost", 2000)
    agent.setup(f"{folder / 'agent.yaml'}+save")
    agent._global_plan, agent._global_plan_world_coord = route_plan()
    return agent


@pytest.mark.parametrize("profile", ["default", "published"])
def test_both_profiles_drive_with_the_shared_controllers(
    tmp_path: Path, checkpoint: Path, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVE_PATH", str(tmp_path))
    agent = make_agent(tmp_path, checkpoint, f"profile: {profile}")
    first = agent.run_step(sensors(0, 0.0), 0.0)
    assert (first.throttle, first.brake) == (0.0, 1.0)
    control = agent.run_step(sensors(0, 4.26), 0.05)
    assert math.isfinite(control.steer)
    assert -1 <= control.steer <= 1
    agent.destroy()
    assert agent.profile.round_speed == (profile == "published")
    assert {"localise", "preprocess", "action", "control", "disk"} == agent.stage_ms.keys()


def test_the_model_sees_what_training_shows(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera image after a JPEG round trip and the target points in the ego frame, but no prompt."""
    seen: list[Observation] = []
    policy = BasePolicy.load(checkpoint, "cpu")
    act = policy.act
    monkeypatch.setattr(policy, "act", lambda observation: seen.append(observation) or act(observation))
    monkeypatch.setattr(agent_simlingo_base, "load_base_once", lambda *arguments: policy)
    agent = make_agent(tmp_path, checkpoint)
    picture = np.random.default_rng(0).integers(0, 256, (512, 1024, 4), dtype=np.uint8)
    for _ in range(2):
        agent.run_step({**sensors(10, 4.26), "rgb_0": (1, picture)}, 0.0)
    image = np.ascontiguousarray(jpeg_round_trip(np.ascontiguousarray(picture[:, :, :3]))[:, :, ::-1])
    np.testing.assert_array_equal(seen[0].image, image)
    np.testing.assert_allclose(seen[0].target_points, [[30, 0], [80, 0]], atol=0.3)
    assert seen[0].prompt == ""


def test_batches_change_nothing(checkpoint: Path) -> None:
    policy = load_batch_policy(str(checkpoint), "cpu", dropout=False, text_every=1)
    assert isinstance(policy, BasePolicy)
    rng = np.random.default_rng(1)
    observations = [
        Observation(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), speed, rng.uniform(5, 40, (2, 2)), "")
        for speed in (0.0, 7.5, 13.0)
    ]
    together = policy.act_batch(observations)
    for observation, batched in zip(observations, together, strict=True):
        alone = policy.act(observation)
        np.testing.assert_allclose(batched.path, alone.path, atol=1e-4)
        np.testing.assert_allclose(batched.speed_waypoints, alone.speed_waypoints, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "name"),
    [("commentary: false", "commentary"), ("route_as: command", "route_as"), ("instruction: Stop.", "instruction")],
)
def test_settings_about_language_are_refused(tmp_path: Path, checkpoint: Path, option: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"no language, so {name} cannot be set"):
        make_agent(tmp_path, checkpoint, option)


def test_dropout_cannot_be_asked_for(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no dropout"):
        make_agent(tmp_path, checkpoint, "dropout: true")
