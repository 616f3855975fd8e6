"""Start the embedded CARLA server.

    python -m carla_server --port 2000 --town Mini01

Clients connect with `carla.Client("localhost", 2000)`. Names of CarlaUE4's command line are accepted beside our own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from carla_server.map import MapError
from carla_server.memory import keep_freed_memory
from carla_server.server import Server
from carla_server.world.towns import TownLibrary, UnknownTownError

#: Options of CarlaUE4 that mean nothing here, with and without a value.
IGNORED_PREFIXES = (
    *("-quality-level=", "-resx=", "-resy=", "-fps=", "-graphicsadapter=", "-carla-server", "-carla-settings="),
    *("-carla-primary-host=", "-carla-primary-port=", "-carla-secondary-port=", "-prefernvidia", "-ini:"),
    *(
        "-renderoffscreen",
        "-nosound",
        "-opengl",
        "-vulkan",
        "-windowed",
        "-benchmark",
        "-nullrhi",
        "-ros2",
        "-unattended",
    ),
    *("-log", "-stdout", "-fullstdoutlogoutput"),
)
#: Our options whose next word is their value, which may begin like the name of a town.
WITH_VALUE = frozenset({"--port", "--streaming-port", "--town", "--seed", "--maps", "--recordings"})
BAD_USAGE = 2


def translate(arguments: list[str]) -> list[str]:
    """Turn CarlaUE4's arguments into ours: ports are renamed, what concerns windows and sound is dropped."""
    ours = []
    for word in arguments:
        lower = word.lower()
        if lower.startswith("-carla-rpc-port=") or lower.startswith("-carla-world-port="):
            ours += ["--port", word.partition("=")[2]]
        elif lower.startswith("-carla-streaming-port="):
            ours += ["--streaming-port", word.partition("=")[2]]
        elif lower.startswith("-carla-port="):
            ours += ["--port", word.partition("=")[2]]
        elif word.startswith(("/Game/", "Town")) and (not ours or ours[-1] not in WITH_VALUE):
            ours += ["--town", word]
        elif not word.startswith("--") and lower.startswith(IGNORED_PREFIXES):
            continue
        else:
            ours.append(word)
    return ours


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m carla_server",
        description="A CARLA 0.9.16 compatible simulator that needs no GPU and no display.",
        epilog="example: python -m carla_server --port 2000 --town Mini01",
    )
    options.add_argument("--port", type=int, default=2000, help="RPC port; 0 picks a free one (default %(default)s)")
    options.add_argument("--streaming-port", type=int, help="port of sensor data (default: RPC port + 1)")
    options.add_argument("--town", default="Mini01", help="town to start with (default %(default)s)")
    options.add_argument("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    options.add_argument("--maps", type=Path, action="append", default=[], help="folder with more <Town>.xodr files")
    options.add_argument(
        "--recordings",
        type=Path,
        default=Path("recordings"),
        help="folder of recordings with relative names (default %(default)s)",
    )
    options.add_argument(
        "--view",
        type=int,
        nargs="?",
        const=0,
        metavar="PORT",
        help="serve a live view on localhost (default: a free port)",
    )
    options.add_argument("--verbose", action="store_true", help="log more")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is interrupted; the exit status."""
    options = parser().parse_args(translate(sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="carla_server %(levelname)s: %(message)s"
    )
    missing = [str(folder) for folder in options.maps if not folder.is_dir()]
    if missing:
        print(f"carla_server: --maps: no such folder: {', '.join(missing)}", file=sys.stderr)
        return BAD_USAGE
    keep_freed_memory()
    try:
        server = Server(
            TownLibrary.standard(options.maps),
            options.town,
            options.port,
            options.streaming_port,
            options.seed,
            options.view,
            options.recordings,
        )
    except (OSError, UnknownTownError, MapError, OverflowError) as error:
        print(f"carla_server: {error}", file=sys.stderr)
        return BAD_USAGE
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def ready() -> None:
        if server.view_port is not None:
            print(f"live view at http://localhost:{server.view_port}/", flush=True)
        town = server.simulator.world.road_map.name
        print(f"carla_server ready rpc={server.port} streaming={server.streaming_port} town={town}", flush=True)

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(server.run(ready))
    except OSError as error:
        print(f"carla_server: cannot listen: {error}", file=sys.stderr)
        return BAD_USAGE
    finally:
        server.simulator.world.record(None)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking the interpreter down object by object takes half a second, and there is nothing left to save.
    os._exit(status)
