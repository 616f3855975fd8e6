"""A supervisor in a process of its own, for tests that kill it: ``python run_fleet.py OUT ROUTES ATTEMPTS``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.executors import Executor, LocalExecutor
from jobs.fleet import Fleet, FleetConfig, RouteTask
from jobs.kept import KeptService
from jobs.servers import ServerSpec

FAKES = str(Path(__file__).with_name("fakes.py"))


def server_spec(behaviour: str, ready_timeout_s: float = 10.0) -> ServerSpec:
    return ServerSpec("carla", (sys.executable, FAKES, "server", "{port}", behaviour), ready_timeout_s)


def policy_service(out: Path) -> KeptService:
    return KeptService((sys.executable, FAKES, "policy"), out / "policy.log", "fake policy ready", 20.0)


def make_fleet(
    out: Path,
    routes: int,
    behaviours: dict[str, str],
    server: ServerSpec,
    hang_timeout_s: float = 20.0,
    executor: Executor | None = None,
    policy: str = "",
    **changes: int | None,
) -> Fleet:
    plan = json.dumps(behaviours).replace("{", "{{").replace("}", "}}")

    def client(tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
        ids = ",".join(task.route_id for task in tasks)
        return (sys.executable, FAKES, "client", str(results), ids, plan, "{port}", policy)

    tasks = [RouteTask(f"seed1/{index}", str(index), "routes.xml", "Mini01", 1) for index in range(routes)]
    spread: dict[str, Any] = {"workers": 2, "attempts": 2, "routes_per_job": 4, **changes}
    config = FleetConfig(out, server=server, hang_timeout_s=hang_timeout_s, **spread)
    return Fleet(config, tasks, client, executor or LocalExecutor())


def main(out: Path, routes: int, attempts: int) -> None:
    """Run to the end with a policy server that is kept running."""
    service = policy_service(out)
    try:
        fleet = make_fleet(out, routes, {}, server_spec("good"), policy=service.start(), attempts=attempts)
        fleet.run(interval_s=0.05)
    finally:
        service.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
