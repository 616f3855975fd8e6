"""The policy server with a stand-in model: batches, memory per car, errors, and servers that are not there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch

from jobs.processes import wait_until
from simlingo_training.inference import Observation, Prediction, Session
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code import policy_benchmark, policy_client, policy_server
from team_code.agent_simlingo import SimLingoAgent
from team_code.policy_client import PolicyServerError, RemotePolicy
from team_code.policy_server import BatchingServer


class EchoPolicy:
    """Answers with the prompt and how often this car has asked; a batch takes 20 ms whatever its size."""

    sees_bonnet = True

    def act_batch(self, observations: list[Observation], sessions: list[Session]) -> list[Prediction]:
        if any(o.prompt == "break" for o in observations):
            raise ValueError("cannot think about that")
        if any(o.prompt == "fall over" for o in observations):
            raise KeyError("no such thought")
        time.sleep(0.02)
        answers = []
        for observation, session in zip(observations, sessions, strict=True):
            session.ticks_since_text += 1
            path = np.full((20, 2), observation.target_points[0, 0], dtype=np.float32)
            text = f"{observation.prompt} {session.ticks_since_text}"
            answers.append(Prediction(path, path[:10], text, (1, 2), {"vision": 1.0}))
        return answers


def observation(prompt: str, value: float = 0.0) -> Observation:
    return Observation(np.zeros((4, 6, 3), dtype=np.uint8), 3.0, np.full((2, 2), value), prompt)


@contextmanager
def running(capsys: pytest.CaptureFixture[str], port: int = 0) -> Iterator[tuple[BatchingServer, str]]:
    """A server in a thread and its address."""
    batching = BatchingServer(EchoPolicy(), patience_s=0.05)
    stopped = threading.Event()

    async def serve() -> None:
        serving = asyncio.ensure_future(batching.serve("127.0.0.1", port))
        while not stopped.is_set():
            await asyncio.sleep(0.02)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    address = ""
    for _ in range(500):
        out = capsys.readouterr().out
        if policy_client.READY in out:
            address = out.split("address=")[1].split()[0]
            break
        time.sleep(0.01)
    try:
        assert address
        yield batching, address
    finally:
        stopped.set()
        thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def server(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[BatchingServer, Callable[[], RemotePolicy]]]:
    """A running server and a function that connects a car to it."""
    with running(capsys) as (batching, address):
        yield batching, lambda: RemotePolicy(address, timeout_s=5.0)


def test_cars_are_answered_together_and_each_gets_its_own(
    server: tuple[BatchingServer, Callable[[], RemotePolicy]],
) -> None:
    batching, connect = server
    cars = [connect() for _ in range(4)]

    def drive(number: int) -> list[Prediction]:
        return [cars[number].act(observation(f"car {number}", number)) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(drive, range(4)))
    for number, predictions in enumerate(answers):
        assert [p.text for p in predictions] == [f"car {number} {turn}" for turn in range(1, 6)]
        assert all(np.all(p.path == number) for p in predictions)
        assert {"vision", "queue", "transfer"} <= predictions[0].stage_ms.keys()
    assert sum(size * count for size, count in batching.batches.items()) == 20
    assert max(batching.batches) == 4


def test_reset_starts_a_new_memory(server: tuple[BatchingServer, Callable[[], RemotePolicy]]) -> None:
    car = server[1]()
    assert car.act(observation("a")).text == "a 1"
    assert car.act(observation("a")).text == "a 2"
    car.reset()
    assert car.act(observation("a")).text == "a 1"


def test_an_error_reaches_the_car_and_the_server_lives_on(
    server: tuple[BatchingServer, Callable[[], RemotePolicy]],
) -> None:
    car = server[1]()
    with pytest.raises(PolicyServerError, match="cannot think about that"):
        car.act(observation("break"))
    assert car.act(observation("fine")).text == "fine 1"


def test_an_error_that_nobody_thought_of_reaches_the_car_too(
    server: tuple[BatchingServer, Callable[[], RemotePolicy]], caplog: pytest.LogCaptureFixture
) -> None:
    car = server[1]()
    with pytest.raises(PolicyServerError, match="could not answer: KeyError: 'no such thought'"):
        car.act(observation("fall over"))
    assert car.act(observation("fine")).text == "fine 1"
    assert "Traceback" in caplog.text, "where it came from is for the server's log"


def test_a_server_ends_while_cars_are_connected_and_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """It hangs up on them: on one that asks nothing, and on one whose answer takes longer than the server lives."""

    class Thinker(EchoPolicy):
        def act_batch(self, observations: list[Observation], sessions: list[Session]) -> list[Prediction]:
            time.sleep(0.5)
            return super().act_batch(observations, sessions)

    with ThreadPoolExecutor(1) as pool:
        with running(capsys) as (batching, address):
            batching.policy = Thinker()
            idle, asking = (RemotePolicy(address, timeout_s=5.0, reconnect_s=0.1) for _ in range(2))
            assert all(car.status() for car in (idle, asking)), "the server has taken both in"
            answer = pool.submit(asking.act, observation("slow"))
            time.sleep(0.1)
        with pytest.raises(PolicyServerError, match="is gone"):
            answer.result(5)


def test_a_bad_request_in_a_batch_spoils_no_others(
    server: tuple[BatchingServer, Callable[[], RemotePolicy]],
) -> None:
    batching, connect = server
    cars = [connect() for _ in range(3)]

    def ask(number: int) -> str:
        try:
            return cars[number].act(observation("break" if number == 1 else f"car {number}")).text
        except PolicyServerError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, range(3)))
    assert max(batching.batches) > 1
    assert answers[0] == "car 0 1"
    assert "cannot think about that" in answers[1]
    assert answers[2] == "car 2 1"


def test_a_health_check_tells_of_cars_and_batches(server: tuple[BatchingServer, Callable[[], RemotePolicy]]) -> None:
    _, connect = server
    car = connect()
    car.act(observation("a"))
    assert car.status() == {"connected": 1, "batches": {"1": 1}, "sees_bonnet": True}
    assert car.sees_bonnet


def test_cars_hang_up(
    server: tuple[BatchingServer, Callable[[], RemotePolicy]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not whenever memory is tidied up: the end of a block and the end of a route."""
    _, connect = server
    with connect() as watcher, connect() as car:
        assert car.status()["connected"] == 2
        monkeypatch.setattr(CarlaDataProvider, "get_hero_actor", lambda: None)
        (tmp_path / "agent.yaml").write_text(f"policy_server: {car._address}")
        agent = SimLingoAgent("localhost", 2000)
        agent.setup(str(tmp_path / "agent.yaml"))
        assert isinstance(agent.policy, RemotePolicy)
        assert agent.policy.status()["connected"] == 3
        car.close()
        agent.destroy()
        assert wait_until(lambda: watcher.status()["connected"] == 1, 5.0, interval_s=0.02)
        assert agent.policy is not None, "nothing but the end of the route has closed the connection"


def test_a_car_outlives_a_restart_of_its_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The server goes away in the middle of a drive and another one comes up on its port."""
    with running(capsys) as (_, address):
        car = RemotePolicy(address, timeout_s=5.0, reconnect_s=10.0)
        assert car.act(observation("a")).text == "a 1"
    port = int(address.rpartition(":")[2])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(car.act, observation("a"))
        time.sleep(0.3)
        with running(capsys, port):
            assert answer.result(10).text == "a 1", "the new server starts with an empty memory"


def test_a_server_that_stays_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with running(capsys) as (_, address):
        car = RemotePolicy(address, timeout_s=5.0, reconnect_s=0.3)
    with pytest.raises(PolicyServerError, match=r"did not come back within 0\.3 s"):
        car.act(observation("a"))


def test_a_lone_car_does_not_wait_for_others(server: tuple[BatchingServer, Callable[[], RemotePolicy]]) -> None:
    batching, connect = server
    car = connect()
    for _ in range(3):
        assert car.act(observation("alone")).stage_ms["queue"] < 40
    assert set(batching.batches) == {1}


def test_without_patience_those_that_wait_already_are_answered_together() -> None:
    async def sizes() -> list[int]:
        batching = BatchingServer(EchoPolicy(), max_batch=3, patience_s=0.0, _connected=5)
        for number in range(4):
            future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
            request = policy_server._Request(observation(str(number)), Session(), future, 0.0)
            await batching._queue.put(request)
        return [len(await batching._collect()) for _ in range(2)]

    assert asyncio.run(sizes()) == [3, 1]


def test_missing_server_is_named() -> None:
    with pytest.raises(PolicyServerError, match="start one with"):
        RemotePolicy("127.0.0.1:1")


@pytest.mark.parametrize("seed", [None, 0, 2**32 - 1])
def test_a_request_arrives_whole(seed: int | None) -> None:
    sent = replace(observation("a", 4.0), is_cut=True, seed=seed)
    packed = msgpack.unpackb(policy_client.frame(policy_client.pack_observation(sent))[policy_client.LENGTH.size :])
    received = policy_client.unpack_observation(packed)
    for field in fields(Observation):
        np.testing.assert_array_equal(getattr(received, field.name), getattr(sent, field.name))


def test_damaged_request_is_refused() -> None:
    message = policy_client.pack_observation(observation("a"))
    with pytest.raises(ValueError, match="reshape"):
        policy_client.unpack_observation({**message, "shape": [5, 5, 3]})
    del message["prompt"]
    with pytest.raises(ValueError, match="prompt"):
        policy_client.unpack_observation(message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("program", [policy_server.main, policy_benchmark.main])
def test_a_gpu_that_is_not_there_is_named_in_one_line(program, monkeypatch, capsys) -> None:
    shipped = Path(__file__).parents[2] / "data/checkpoints/simlingo_tiny"
    monkeypatch.setattr("sys.argv", ["program", "--checkpoint", str(shipped), "--device", "cuda"])
    try:
        code = program()
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert "PyTorch sees no GPU here; take auto or cpu" in capsys.readouterr().err.splitlines()[-1]
