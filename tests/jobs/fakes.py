"""Stand-ins for a simulator and an evaluator, run as processes: ``python fakes.py server|client …``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def serve(port: int, behaviour: str) -> None:
    if behaviour == "never":
        time.sleep(60)
    if behaviour == "slow":
        time.sleep(1.0)
    if behaviour == "leak":
        code = "import socket,sys,time; s=socket.create_server(('127.0.0.1',int(sys.argv[1]))); time.sleep(60)"
        subprocess.Popen([sys.executable, "-c", code, str(port)], start_new_session=True)
        time.sleep(60)
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(0.05)
    started = time.monotonic()
    while time.monotonic() - started < 60:
        if behaviour == "segfault" and time.monotonic() - started > 0.6:
            os.kill(os.getpid(), signal.SIGSEGV)
        try:
            listener.accept()[0].close()
        except TimeoutError:
            continue


def drive(results: Path, routes: str, behaviours: str, ticks: int = 4) -> None:
    """Drive routes; ``behaviours`` maps a route id to crash, hang or fail. A route `once` crashes on its first try only."""
    plan = json.loads(behaviours)
    records: list[dict[str, object]] = []
    progress = results.with_name(results.name + ".progress.jsonl")
    for route in routes.split(","):
        for tick in range(ticks):
            with open(progress, "a") as stream:
                stream.write(json.dumps({"route": f"RouteScenario_{route}_rep0", "tick": tick}) + "\n")
            time.sleep(0.03)
        act = plan.get(route, "finish")
        marker = results.parent.parent / f"tried_{route}"
        if act == "crash" or (act == "once" and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "hang":
            time.sleep(60)
        status = "Failed - Agent got blocked" if act == "fail" else "Completed"
        records.append({"route_id": f"RouteScenario_{route}_rep0", "status": status})
        temporary = results.with_suffix(".tmp")
        temporary.write_text(json.dumps({"_checkpoint": {"records": records}}))
        os.replace(temporary, results)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        drive(Path(sys.argv[2]), sys.argv[3], sys.argv[4])
