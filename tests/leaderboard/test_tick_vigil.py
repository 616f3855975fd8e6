"""When the server is told that the main thread stands inside a tick."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from carla_server.calls import pulse
from leaderboard.scenarios import tick_vigil
from leaderboard.scenarios.tick_vigil import TOLD_NAME, TickVigil

PERIOD_S, PATIENCE_S = 0.01, 0.05


class Client:
    """Keeps what it was asked; its answers can be held back, or fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.answers = threading.Event()
        self.answers.set()
        self.fails = False

    def show_recorder_file_info(self, name: str, show_all: bool) -> str:
        self.asked.append((name, show_all))
        self.answers.wait(5.0)
        if self.fails:
            raise RuntimeError("time-out while waiting for the simulator")
        return f"File {name} not found on server\n"


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def vigil(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[TickVigil]:
    monkeypatch.setattr(tick_vigil, "PERIOD_S", PERIOD_S)
    monkeypatch.setattr(tick_vigil, "PATIENCE_S", PATIENCE_S)
    vigil = TickVigil(client)
    yield vigil
    client.answers.set()
    vigil.stop()


def test_server_and_evaluator_mean_the_same_name() -> None:
    assert TOLD_NAME == pulse.TOLD_NAME
    assert hasattr(Client, pulse.TELLING)


def test_a_long_tick_is_told_until_it_ends(client: Client, vigil: TickVigil) -> None:
    with vigil:
        time.sleep(PATIENCE_S + 30 * PERIOD_S)
    told = len(client.asked)
    assert told >= pulse.TELLINGS
    assert set(client.asked) == {(TOLD_NAME, False)}
    time.sleep(PATIENCE_S + 10 * PERIOD_S)
    assert len(client.asked) <= told + 1  # one may have been under way


def test_short_ticks_and_long_thoughts_are_not_told(client: Client, vigil: TickVigil) -> None:
    for _ in range(20):
        with vigil:
            time.sleep(PERIOD_S)
    time.sleep(PATIENCE_S + 10 * PERIOD_S)
    assert client.asked == []


def test_a_server_that_does_not_answer_holds_nobody_up(client: Client, vigil: TickVigil) -> None:
    client.answers.clear()
    client.fails = True
    with vigil:
        time.sleep(PATIENCE_S + 10 * PERIOD_S)
        assert len(client.asked) == 1
        client.answers.set()
        time.sleep(PATIENCE_S + 10 * PERIOD_S)
        assert len(client.asked) > 1
