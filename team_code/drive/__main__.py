"""Drive it yourself: opens a page on localhost where the agent drives live and does what you type.

Examples:
    python -m team_code.drive --checkpoint outputs/demo/train/checkpoints/last
    python -m team_code.drive --checkpoint … --routes data/routes/embedded22.xml --routes-subset 4 --pace 0
    python -m team_code.drive --checkpoint … --option commentary=false --option latency=0.3

Type an instruction ("Change lane to the left.") and see it followed or refused, or a question and see it answered.
Ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs import ports, processes, servers
from leaderboard.utils.route_parser import RouteParser
from simlingo_training.models.folder import CheckpointError, read_config
from team_code.drive.config import LiveConfig

AGENT = Path(__file__).with_name("agent_live.py")
DEFAULT_ROUTES = Path(__file__).resolve().parents[2] / "data" / "routes" / "demo_eval.xml"
VIEW_OFFSET = 3
"""Port of the simulator's live view within a leased block, after its RPC and streaming ports."""

START_TIMEOUT_S = 300.0
QUICK_END_S = 20.0
MOST_QUICK_ENDS = 2
PATIENCE_S = "86400"
"""Wall time that a step of the evaluator may take: a paused drive is no hang."""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m team_code.drive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a SimLingo checkpoint")
    parser.add_argument("--routes", type=Path, default=DEFAULT_ROUTES, help="route file (default: %(default)s)")
    parser.add_argument(
        "--routes-subset", default="", help="route ids, for example 1,4-9 (default: all, over and over)"
    )
    parser.add_argument("--port", type=int, default=8100, help="port of the page (default: %(default)s)")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="most game time per wall clock, 0 for no limit (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of simulator and traffic (default: %(default)s)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="a setting of the agent, may be repeated"
    )
    parser.add_argument("--logs", type=Path, help="folder for logs (default: a temporary one)")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="do not open a browser")
    return parser.parse_args()


def write_config(arguments: argparse.Namespace, folder: Path, world_view: str) -> Path:
    """Write the agent's configuration and check it.

    Raises:
        ValueError: If an option is unknown or has no such value.
    """
    fixed = {
        "checkpoint": str(arguments.checkpoint.resolve()),
        "page_port": arguments.port,
        "world_view": world_view,
        "pace": arguments.pace,
    }
    merged = OmegaConf.merge(OmegaConf.from_dotlist(arguments.option), fixed)
    path = folder / "agent.yaml"
    path.write_text(OmegaConf.to_yaml(merged))
    try:
        LiveConfig.parse(str(path))
    except OmegaConfBaseException as error:
        raise ValueError(f"--option: {error}") from error
    return path


def evaluator_command(arguments: argparse.Namespace, lease: ports.PortLease, config: Path, folder: Path) -> list[str]:
    """The evaluator with the live agent on the leased simulator."""
    options = {
        "--host": "127.0.0.1",
        "--port": lease.rpc,
        "--traffic-manager-port": lease.traffic_manager,
        "--traffic-manager-seed": arguments.seed,
        "--routes": arguments.routes,
        "--routes-subset": arguments.routes_subset,
        "--agent": AGENT,
        "--agent-config": config,
        "--checkpoint": folder / "results.json",
        "--rules": "bench2drive",
        "--timeout": PATIENCE_S,
        "--wait-for-server": servers.CLIENT_PATIENCE_S,
    }
    pairs = [str(text) for pair in options.items() for text in pair]
    return [sys.executable, "-m", "leaderboard.leaderboard_evaluator", *pairs]


def start_driver(
    arguments: argparse.Namespace, lease: ports.PortLease, config: Path, folder: Path, token: str
) -> subprocess.Popen[bytes]:
    """Start the evaluator with the live agent."""
    return processes.start(evaluator_command(arguments, lease, config, folder), folder / "evaluator.log", token)


def wait_for_page(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the page answers.

    Raises:
        RuntimeError: If the evaluator ends first or the page stays away; the message ends with its log.
    """
    processes.wait_until(lambda: process.poll() is not None or servers.port_answers(port), START_TIMEOUT_S)
    if process.poll() is not None or not servers.port_answers(port):
        raise RuntimeError(f"the drive did not begin; its log {log} ends:\n{processes.tail(log)}")


def drive(arguments: argparse.Namespace, folder: Path) -> None:
    """Start simulator and driver and keep them going until interrupted.

    Raises:
        RuntimeError, jobs.servers.ServerError: If one of them does not start or ends at once, again and again.
    """
    towns = [route.town for route in RouteParser.parse_routes_file(str(arguments.routes), arguments.routes_subset)]
    token = f"drive:{folder.resolve()}"
    children: list[subprocess.Popen[bytes]] = []
    with ports.lease_ports() as lease:
        view = lease.rpc + VIEW_OFFSET
        config = write_config(arguments, folder, f"http://localhost:{view}")
        spec = servers.ServerSpec(command=(*servers.EMBEDDED_COMMAND, "--view", str(view)))
        try:
            print("Starting the simulator …", flush=True)
            log = folder / "simulator.log"
            children.append(servers.start(spec, lease.rpc, towns[0], arguments.seed, log, token))
            children.append(start_driver(arguments, lease, config, folder, token))
            servers.wait_until_ready(spec, children[0], lease.rpc, log)
            _drive_on(arguments, lease, config, folder, token, children)
        finally:
            for child in reversed(children):
                processes.stop(child)
            processes.sweep(token)


def _drive_on(
    arguments: argparse.Namespace,
    lease: ports.PortLease,
    config: Path,
    folder: Path,
    token: str,
    children: list[subprocess.Popen[bytes]],
) -> None:
    """Drive all routes, and again, for ever; the first round has begun."""
    log, quick_ends, opened, started = folder / "evaluator.log", 0, False, time.monotonic()
    while True:
        driver = children[1]
        wait_for_page(arguments.port, driver, log)
        if not opened:
            opened = True
            address = f"http://localhost:{arguments.port}/"
            print(f"drive it yourself at {address}   (logs in {folder}; end with Ctrl-C)", flush=True)
            if arguments.browser:
                webbrowser.open(address)
        driver.wait()
        quick_ends = quick_ends + 1 if time.monotonic() - started < QUICK_END_S else 0
        if children[0].poll() is not None:
            raise RuntimeError(
                f"the simulator ended with {processes.describe_exit(children[0].returncode)}; its log ends:\n"
                + processes.tail(folder / "simulator.log")
            )
        if quick_ends > MOST_QUICK_ENDS:
            raise RuntimeError(f"the drive ends again and again; its log {log} ends:\n{processes.tail(log)}")
        started = time.monotonic()
        children[1:] = [start_driver(arguments, lease, config, folder, token)]


def main() -> int:
    """Entry point of ``python -m team_code.drive``."""
    arguments = parse_arguments()
    temporary = None if arguments.logs else tempfile.mkdtemp(prefix="simlingo-drive-")
    folder = Path(temporary or arguments.logs)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        kind = read_config(arguments.checkpoint)["kind"]
        if kind != "simlingo":
            raise CheckpointError(f"{arguments.checkpoint} is a checkpoint of {kind}, which has no language to talk to")
        if not ports.is_free(arguments.port):
            raise OSError(f"port {arguments.port} is in use; choose another with --port")
        drive(arguments, folder)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"drive: {error}", file=sys.stderr)
        temporary = None  # the logs stay for a look
        return 2
    except KeyboardInterrupt:
        print("\nGood bye.")
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
