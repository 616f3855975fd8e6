"""Cuts a route file into contiguous parts for parallel runs, or into one file per route.

Example:

    python -m Bench2Drive.split_routes bench2drive220.xml --parts 4 --out parts/
    python -m Bench2Drive.split_routes bench2drive220.xml --single --out bench2drive_split/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from driving.arguments import positive
from leaderboard.utils.route_parser import RouteParser, write_routes_file


def part_sizes(total: int, parts: int) -> list[int]:
    """Sizes of ``parts`` contiguous parts that differ by at most one, larger ones first.

    Raises:
        ValueError: If there are more parts than routes, or none.
    """
    if not 1 <= parts <= total:
        raise ValueError(f"{total} routes cannot be cut into {parts} parts")
    return [total // parts + (i < total % parts) for i in range(parts)]


def split_file(path: Path, parts: int | None, out: Path) -> list[Path]:
    """Write the parts and return their paths.

    Args:
        path: Route file.
        parts: Number of parts (``<stem>_<i>.xml``), or None for one file per route (``<stem>_<NN>.xml``, NN the position in
            the file with at least two digits, as SimLingo's evaluation names them).
        out: Folder of the parts.
    """
    routes = RouteParser.parse_routes_file(path)
    sizes = [1] * len(routes) if parts is None else part_sizes(len(routes), parts)
    written, start = [], 0
    for i, size in enumerate(sizes):
        name = f"{path.stem}_{i:02d}.xml" if parts is None else f"{path.stem}_{i}.xml"
        write_routes_file(out / name, routes[start : start + size])
        written.append(out / name)
        start += size
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m Bench2Drive.split_routes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("routes", type=Path, help="route XML")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--parts", type=positive, help="number of contiguous parts")
    how.add_argument("--single", action="store_true", help="one file per route")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    try:
        written = split_file(options.routes, None if options.single else options.parts, options.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {len(written)} files to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
