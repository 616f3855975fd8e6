"""Writes the OpenDRIVE files of the towns described in `carla_server.map.generator.towns`.

Example:
    python -m carla_server.map.generate Mini01 --out data/towns
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

from carla_server.map.generator.build import build_town
from carla_server.map.generator.towns import TOWNS


def write_town(name: str, folder: Path) -> Path:
    """Generate a town and write `<folder>/<name>.xodr`, whole or not at all.

    Raises:
        ValueError: No such town, or its description does not fit together.
        OSError: The file cannot be written.
    """
    if name not in TOWNS:
        close = difflib.get_close_matches(name, TOWNS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown town {name!r}; described are {', '.join(TOWNS)}{hint}")
    text = build_town(TOWNS[name])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.xodr"
    partial = target.with_suffix(".xodr.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, target)
    return target


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m carla_server.map.generate",
        description="Write the OpenDRIVE files of the described towns.",
        epilog="example: python -m carla_server.map.generate Mini01 --out data/towns",
    )
    parser.add_argument("towns", nargs="*", help=f"towns to write, default all: {', '.join(TOWNS)}")
    parser.add_argument(
        "--out", type=Path, default=Path("data/towns"), help="folder for the files (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        for name in options.towns or TOWNS:
            path = write_town(name, options.out)
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
