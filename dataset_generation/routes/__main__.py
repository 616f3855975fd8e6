"""Route files from the command line.

Example:
    python -m dataset_generation.routes embedded demo_collect --out data/routes
"""

from __future__ import annotations

import argparse
import sys

from dataset_generation.routes import balance, embedded, split

#: Subcommands: module with `add_arguments(parser)` and `run(options) -> exit status`, and a line of help.
COMMANDS = {
    "embedded": (embedded, "write the route sets of our own towns"),
    "split": (split, "cut long routes into short ones with one or a few scenarios"),
    "balance": (balance, "draw a set in which every scenario type occurs equally often, without duplicates"),
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.routes",
        description="Write and transform route files.",
        epilog="example: python -m dataset_generation.routes embedded demo_collect --out data/routes",
    )
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in COMMANDS.items():
        module.add_arguments(subparsers.add_parser(name, help=text, description=text))
    options = parser.parse_args(arguments)
    try:
        return COMMANDS[options.command][0].run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
