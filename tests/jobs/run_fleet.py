"""A supervisor in a process of its own, for tests that kill it: ``python run_fleet.py OUT ROUTES BEHAVIOURS``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.executors import Executor, LocalExecutor
from jobs.fleet import Fleet, FleetConfig, RouteTask
from jobs.servers import ServerSpec

FAKES = str(Path(__file__).with_name("fakes.py"))


def server_spec(behaviour: str, ready_timeout_s: float = 10.0) -> ServerSpec:
    return ServerSpec("carla", (sys.executable, FAKES, "server", "{port}", behaviour), ready_timeout_s)


def make_fleet(
    out: Path,
    routes: int,
    behaviours: dict[str, str],
    server: ServerSpec,
    hang_timeout_s: float = 20.0,
    executor: Executor | None = None,
) -> Fleet:
    plan = json.dumps(behaviours).replace("{", "{{").replace("}", "}}")

    def client(tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
        return (sys.executable, FAKES, "client", str(results), ",".join(task.route_id for task in tasks), plan)

    tasks = [RouteTask(f"seed1/{index}", str(index), "routes.xml", "Mini01", 1) for index in range(routes)]
    config = FleetConfig(out, workers=2, attempts=2, routes_per_job=4, server=server, hang_timeout_s=hang_timeout_s)
    return Fleet(config, tasks, client, executor or LocalExecutor())


if __name__ == "__main__":
    fleet = make_fleet(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), server_spec("good"))
    fleet.run(interval_s=0.05)
