"""A stand-in for the evaluator that writes what the real one writes: ``python fake_evaluator.py RESULTS IDS SCRIPT``.

SCRIPT is a JSON file: route id to a composed score, or to ``crash``. Other routes are driven perfectly.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

INFRACTIONS = (
    "collisions_layout", "collisions_pedestrian", "collisions_vehicle", "red_light", "stop_infraction",
    "outside_route_lanes", "min_speed_infractions", "yield_emergency_vehicle_infractions", "scenario_timeouts",
    "route_dev", "vehicle_blocked", "route_timeout",
)  # fmt: skip


def record(route: str, score: float) -> dict[str, object]:
    infractions = {
        name: [] if score == 100 or name != "red_light" else ["Agent ran a red light"] for name in INFRACTIONS
    }
    return {
        "route_id": f"RouteScenario_{route}_rep0",
        "scenario_name": "ParkedObstacle_1",
        "save_name": f"RouteScenario_{route}_rep0_Mini01",
        "status": "Completed",
        "num_infractions": int(score < 100),
        "infractions": infractions,
        "scores": {"score_route": 100, "score_penalty": score / 100, "score_composed": score},
        "meta": {"route_length": 120.0, "duration_game": 20.0, "duration_system": 5.0},
    }


def trace(score: float) -> dict[str, object]:
    along = [0.25 * i for i in range(80)]
    frames = [
        {"t": t, "x": 5 * t, "y": 2 * math.sin(t), "yaw": 0, "speed": 4 + math.sin(t), "steer": 0.3 * math.cos(t)}
        for t in along
    ]
    event = {"kind": "red_light", "t": 9.0, "x": 45.0, "y": 1.0, "message": "Agent ran a red light"}
    return {
        "town": "Mini01",
        "route": [[i, 0] for i in range(100)],
        "frames": frames,
        "events": [] if score == 100 else [event],
        "scenarios": [{"type": "ParkedObstacle", "x": 30.0, "y": 0.0}],
    }


def main(results: Path, routes: str, script: Path) -> None:
    plan = json.loads(script.read_text())
    records, notes = [], {}
    stages = {"simulator": 4.0, "render": 6.0, "vision": 9.0, "text": 12.0}
    for route in routes.split(","):
        run_id = f"RouteScenario_{route}_rep0"
        with open(f"{results}.progress.jsonl", "a") as stream:
            stream.write(json.dumps({"route": run_id, "tick": 1, "game_time": 1.0, "ratio": 2.0}) + "\n")
        time.sleep(0.05)
        score = plan.get(route, 100.0)
        if score == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        records.append(record(route, score))
        table = {
            name: {"ticks": 400, "mean": ms, "median": ms, "p95": 2 * ms, "total_s": 0.4 * ms}
            for name, ms in stages.items()
        }
        notes[run_id] = {"outcome": "finished", "stage_ms": table}
        folder = results.with_name("results_trace")
        folder.mkdir(exist_ok=True)
        (folder / f"{run_id}.json").write_text(json.dumps(trace(score)))
        results.with_name("results_manifest.json").write_text(json.dumps({"routes": notes}))
        results.with_suffix(".tmp").write_text(json.dumps({"_checkpoint": {"records": records}}))
        os.replace(results.with_suffix(".tmp"), results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
