"""Stand-ins for a simulator, an evaluator and a policy server: ``python fakes.py server|client|policy …``."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def serve(port: int, behaviour: str) -> None:
    """A simulator: every connection that it takes and closes is a tick.

    Behaviours: `good`; `slow` and `never` to start; `hang` after 100 ticks; `segfault` after 20; `leak` of the port to a process
    that outlives the launcher.
    """
    if behaviour == "never":
        time.sleep(60)
    if behaviour == "slow":
        time.sleep(1.0)
    if behaviour == "leak":
        code = "import socket,sys; s=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nwhile True: s.accept()[0].close()"
        subprocess.Popen([sys.executable, "-c", code, str(port)], start_new_session=True)
        time.sleep(60)
    listener = socket.create_server(("127.0.0.1", port))
    ticks = 0
    while True:
        listener.accept()[0].close()
        ticks += 1
        if behaviour == "hang" and ticks == 100:
            time.sleep(60)
        if behaviour == "segfault" and ticks == 20:
            os.kill(os.getpid(), signal.SIGSEGV)


def tick_simulator(port: int) -> None:
    """One tick of `serve`; waits as long as it takes, and for ever once the simulator is gone, as real clients may."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.recv(1)
    except ConnectionError:
        time.sleep(60)


def answer(port: int) -> None:
    """A policy server: echoes every byte, to any number of clients."""
    poll = select.poll()
    listener = socket.create_server(("127.0.0.1", port))
    cars: dict[int, socket.socket] = {listener.fileno(): listener}
    poll.register(listener, select.POLLIN)
    print(f"fake policy ready address=127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                car = listener.accept()[0]
                cars[car.fileno()] = car
                poll.register(car, select.POLLIN)
                continue
            try:
                content = cars[number].recv(64)
                cars[number].sendall(content)
            except ConnectionError:
                content = b""
            if not content:
                poll.unregister(number)
                cars.pop(number).close()


class Asker:
    """Asks the policy server before every tick, again when it went away."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def ask(self) -> None:
        host, _, port = self._address.rpartition(":")
        while port:
            try:
                if self._socket is None:
                    self._socket = socket.create_connection((host, int(port)), timeout=20)
                self._socket.sendall(b"?")
                if self._socket.recv(1) == b"?":
                    return
            except ConnectionError:
                time.sleep(0.05)
            self._socket = None


def drive(results: Path, routes: str, behaviours: str, port: int, policy: str = "", ticks: int = 4) -> None:
    """Drive routes; ``behaviours`` maps a route id to `crash`, `hang`, `fail`, `once` (crashes on its first try only), `long`
    (ticks the simulator a thousand times), `fault` (tells that the agent crashed), `end` (tells that the simulator crashed, and
    drives nothing after it) or `refuse` (the whole job, before its first route)."""
    asker = Asker(policy)
    plan = json.loads(behaviours)
    if "refuse" in map(plan.get, routes.split(",")):
        sys.exit(2)
    records: list[dict[str, object]] = []
    progress = results.with_name(results.name + ".progress.jsonl")
    for route in routes.split(","):
        act = plan.get(route, "finish")
        for tick in range(1000 if act == "long" else ticks):
            asker.ask()
            tick_simulator(port)
            with open(progress, "a") as stream:
                stream.write(json.dumps({"route": f"RouteScenario_{route}_rep0", "tick": tick}) + "\n")
            time.sleep(0.002 if act == "long" else 0.03)
        marker = results.parent.parent / f"tried_{route}"
        if act == "crash" or (act == "once" and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "hang":
            time.sleep(60)
        statuses = {"fail": "Agent got blocked", "end": "Simulation crashed", "fault": "Agent crashed"}
        status = f"Failed - {statuses[act]}" if act in statuses else "Completed"
        records.append({"route_id": f"RouteScenario_{route}_rep0", "status": status})
        temporary = results.with_suffix(".tmp")
        temporary.write_text(json.dumps({"_checkpoint": {"records": records}}))
        os.replace(temporary, results)
        if act == "end":
            sys.exit(255)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "policy":
        answer(int(sys.argv[3]))
    else:
        results, routes, behaviours, port, *policy = sys.argv[2:]
        drive(Path(results), routes, behaviours, int(port), *policy)
