"""How fast routes are driven: game time per wall clock, and where the time goes.

A route's speed is limited by the simulator (ticks, sensors), the Traffic Manager in this process, the scenarios, and what
the evaluator adds. This drives one route with a constant-speed agent and prints its share of each.

Example (with a running server):

    python -m leaderboard.benchmark --port 2000 --routes data/routes/demo_eval.xml --routes-subset 904 --sensors camera,imu,gnss
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leaderboard import leaderboard_evaluator
from leaderboard.utils.statistics_manager import LABELS

MOUNT = {"x": -1.5, "y": 0.0, "z": 2.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
SENSORS: dict[str, dict[str, Any]] = {
    "camera": {"type": "sensor.camera.rgb", "width": 1024, "height": 512, "fov": 110, **MOUNT},
    "imu": {"type": "sensor.other.imu", **MOUNT},
    "gnss": {"type": "sensor.other.gnss", **MOUNT},
    "lidar": {"type": "sensor.lidar.ray_cast", **MOUNT},
}

AGENT = """
from leaderboard.autoagents.constant_speed_agent import ConstantSpeedAgent

def get_entry_point():
    return "BenchmarkAgent"

class BenchmarkAgent(ConstantSpeedAgent):
    def sensors(self):
        return [*super().sensors(), *{sensors!r}]
"""


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Drive the route and return the numbers.

    Raises:
        RuntimeError: If the evaluation did not come to its end.
    """
    names = [name for name in options.sensors.split(",") if name]
    sensors = [{**SENSORS[name], "id": name} for name in names]
    agent = folder / "benchmark_agent.py"
    agent.write_text(AGENT.format(sensors=sensors), encoding="utf-8")
    checkpoint = folder / "results.json"
    arguments = ["--host", options.host, "--port", str(options.port), "--routes", str(options.routes)]
    arguments += ["--traffic-manager-port", str(options.traffic_manager_port), "--rules", "bench2drive"]
    arguments += ["--routes-subset", options.routes_subset, "--agent", str(agent), "--checkpoint", str(checkpoint)]
    started = time.process_time()
    status = leaderboard_evaluator.main([*arguments, *([] if options.traffic else ["--no-traffic"])])
    if status != 0:
        raise RuntimeError(f"the evaluation ended with status {status}")
    cpu_s = time.process_time() - started
    manifest = json.loads((folder / "results_manifest.json").read_text(encoding="utf-8"))["routes"].values()
    records = json.loads(checkpoint.read_text(encoding="utf-8"))["_checkpoint"]["records"]
    ticks = sum(route["ticks"] for route in manifest)
    wall_s = sum(record["meta"]["duration_system"] for record in records)
    game_s = sum(record["meta"]["duration_game"] for record in records)
    return {
        "benchmark": "leaderboard",
        "machine": platform.processor() or platform.machine(),
        "seed": 0,
        "sensors": names,
        "traffic": options.traffic,
        "routes": len(records),
        "ticks": ticks,
        "ticks_per_second": round(ticks / wall_s, 1),
        "times_real_time": round(game_s / wall_s, 2),
        "evaluator_cpu_ms_per_tick": round(cpu_s / ticks * 1000, 3),
        "load_s": round(sum(route["wall_s"]["load"] for route in manifest), 3),
        LABELS[0][1]: sum(record["scores"][LABELS[0][1]] for record in records) / len(records),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; the last line is JSON. Returns 0, or 2 if the routes could not be driven."""
    parser = argparse.ArgumentParser(
        prog="python -m leaderboard.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--traffic-manager-port", type=int, default=8000)
    parser.add_argument("--routes", type=Path, default=Path("data/routes/demo_eval.xml"))
    parser.add_argument("--routes-subset", default="")
    parser.add_argument("--sensors", default="camera,imu,gnss", help=f"comma-separated, of {', '.join(SENSORS)}")
    parser.add_argument("--no-traffic", dest="traffic", action="store_false")
    options = parser.parse_args(arguments)
    unknown = set(options.sensors.split(",")) - {*SENSORS, ""}
    if unknown:
        parser.error(f"unknown sensors {', '.join(sorted(unknown))}; known: {', '.join(SENSORS)}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = measure(options, Path(folder))
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
