"""The page of a live drive without a simulator: requests in, answers and pictures out, with a stand-in for the model."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import carla
import cv2
import numpy as np
import pytest

from driving.commands import RoadOption
from simlingo_training.data import prompts
from simlingo_training.inference import Observation, Policy, Prediction, Session
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code import agent_simlingo
from team_code.drive import agent_live
from team_code.drive.agent_live import LiveAgent
from team_code.drive.cockpit import Cockpit, Kind, Request
from team_code.drive.config import LiveConfig
from team_code.drive.page_server import serve
from tests.team_code.test_agent_simlingo import route_plan, sensors


class TalkingPolicy(Policy):
    """Obeys what it must, refuses to crash where it may, answers questions with what it saw."""

    sees_bonnet = True

    def __init__(self) -> None:
        self.sessions: list[Session | None] = []

    def reset(self) -> None:
        return

    def act(self, observation: Observation, session: Session | None = None) -> Prediction:
        self.sessions.append(session)
        ahead = np.stack([np.arange(20.0), np.zeros(20)], axis=1).astype(np.float32)
        return Prediction(ahead, ahead[:10], self.answer(observation.prompt), (), {})

    @staticmethod
    def answer(prompt: str) -> str:
        if "Q:" in prompt:
            return f"A: You asked {prompt.split('Q: ')[1]}"
        if "Crash" in prompt and prompt.startswith(prompts.SAFETY):
            return "That would be dangerous. Waypoints:"
        told = prompt.startswith((prompts.SAFETY, prompts.INSTRUCTION_FOLLOWING))
        return prompts.FOLLOWING_ANSWER if told else "Follow the road. Waypoints:"


@pytest.fixture
def cockpit(monkeypatch: pytest.MonkeyPatch) -> Cockpit:
    cockpit = Cockpit()
    monkeypatch.setattr(agent_live, "open_cockpit", lambda port, world_view: cockpit)
    monkeypatch.setattr(CarlaDataProvider, "get_hero_actor", lambda: None)
    return cockpit


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> TalkingPolicy:
    policy = TalkingPolicy()
    monkeypatch.setattr(agent_simlingo, "load_policy_once", lambda *arguments: policy)
    return policy


@pytest.fixture
def agent(tmp_path: Path, cockpit: Cockpit, policy: TalkingPolicy) -> LiveAgent:
    (tmp_path / "agent.yaml").write_text(f"checkpoint: {tmp_path}\npace: 0\nhold_s: 0.5")
    agent = LiveAgent("localhost", 2000)
    agent.setup(str(tmp_path / "agent.yaml"))
    agent._global_plan, agent._global_plan_world_coord = route_plan()
    agent.org_dense_route_world_coord = [
        (carla.Transform(carla.Location(x, 0, 0)), RoadOption.LANEFOLLOW) for x in range(200)
    ]
    return agent


def drive(agent: LiveAgent, first: int, ticks: int) -> None:
    for tick in range(first, first + ticks):
        agent.run_step(sensors(0.2 * tick, 4.0), 0.05 * tick)


def talk(cockpit: Cockpit) -> list[tuple[str, str]]:
    return [(entry["mood"], entry["text"]) for entry in cockpit.state()["conversation"]]


def test_an_instruction_is_followed_for_a_while_and_then_the_route_again(agent: LiveAgent, cockpit: Cockpit) -> None:
    drive(agent, 0, 3)
    cockpit.request(Request(Kind.INSTRUCT, "Drive slower."))
    drive(agent, 3, 1)
    assert cockpit.state()["frame"]["instruction"] == "Drive slower."
    drive(agent, 4, 12)
    assert talk(cockpit)[1:] == [
        ("instruct", "Drive slower."),
        ("followed", "Following the given instruction."),
        ("note", "Back on the route."),
    ]
    assert cockpit.state()["commentary"] == "Follow the road."


def test_a_dangerous_instruction_is_refused_where_it_may_be(agent: LiveAgent, cockpit: Cockpit) -> None:
    drive(agent, 0, 3)
    cockpit.request(Request(Kind.INSTRUCT, "Crash into the car."))
    drive(agent, 3, 2)
    assert talk(cockpit)[-1] == ("refused", "That would be dangerous.")
    assert agent.instruction is None
    cockpit.request(Request(Kind.INSTRUCT, "Crash into the car.", safety=False))
    drive(agent, 5, 2)
    assert talk(cockpit)[-1] == ("followed", "Following the given instruction.")


def test_a_question_is_answered_beside_driving(agent: LiveAgent, cockpit: Cockpit, policy: TalkingPolicy) -> None:
    drive(agent, 0, 3)
    before = len(policy.sessions)
    cockpit.request(Request(Kind.ASK, "Is it raining?"))
    drive(agent, 3, 1)
    assert talk(cockpit)[-1] == ("answer", "You asked Is it raining?")
    driving, asking = policy.sessions[before:]
    assert driving is None
    assert asking is not None, "the question must not touch what the driver remembers of its last sentence"
    assert cockpit.state()["commentary"] == "Follow the road."


def test_release_ends_an_instruction(agent: LiveAgent, cockpit: Cockpit) -> None:
    drive(agent, 0, 2)
    cockpit.request(Request(Kind.INSTRUCT, "Drive slower."))
    drive(agent, 2, 1)
    cockpit.request(Request(Kind.RELEASE))
    drive(agent, 3, 1)
    assert agent.instruction is None


@pytest.fixture
def address(agent: LiveAgent, cockpit: Cockpit) -> Iterator[str]:
    server = serve(cockpit, 0)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def ask(url: str, value: Any = None, kind: str = "application/json") -> bytes:
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": kind} if data else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def test_page_state_and_picture_are_served(agent: LiveAgent, cockpit: Cockpit, address: str) -> None:
    assert b"Drive it yourself" in ask(f"{address}/")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(f"{address}/picture.jpg")
    drive(agent, 0, 3)
    ask(f"{address}/say", {"kind": "instruct", "text": "Drive slower."})
    drive(agent, 3, 1)
    state = json.loads(ask(f"{address}/state.json"))
    assert state["conversation"][-1]["mood"] == "followed"
    assert len(state["frame"]["path"]) == 20
    picture = cv2.imdecode(np.frombuffer(ask(f"{address}/picture.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 960, 3)
    assert np.ptp(picture) > 60, "the prediction is drawn into the grey picture"


@pytest.mark.parametrize(
    ("path", "value", "kind", "status"),
    [
        ("/say", {"kind": "shout", "text": "x"}, "application/json", 400),
        ("/say", {"kind": "ask", "text": " "}, "application/json", 400),
        ("/say", {"kind": "ask", "text": "x" * 301}, "application/json", 400),
        ("/say", {"kind": "ask", "text": "x"}, "text/plain", 415),
        ("/elsewhere", {}, "application/json", 404),
        ("/nothing", None, "", 404),
        ("/world/state.json", None, "", 404),
        ("/world/../../etc/passwd", None, "", 404),
    ],
)
def test_other_requests_are_refused(address: str, path: str, value: Any, kind: str, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError, match=str(status)):
        ask(address + path, value, kind)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="own model"):
        LiveConfig(policy_server="localhost:1")
    with pytest.raises(ValueError, match="hold_s above 0"):
        LiveConfig(hold_s=0)
