"""Running a module as `python -m` does, inside the process of the tests and without a trace in it."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from unittest import mock


def run_program(name: str, *arguments: str) -> None:
    """Run `python -m NAME ARGUMENTS…` here.

    Only the module that is run is taken out of `sys.modules` for the time being. A package stays: imported a second
    time, it would be another object without its modules, and lie with its parent after the first one is back.

    Raises:
        SystemExit: how the program ended.
    """
    spec = importlib.util.find_spec(name)
    is_package = spec is not None and spec.submodule_search_locations is not None
    module = f"{name}.__main__" if is_package else name
    known = sys.modules.pop(module, None)
    try:
        with mock.patch.object(sys, "argv", [name, *arguments]):
            runpy.run_module(name, run_name="__main__")
    finally:
        if known is not None:
            sys.modules[module] = known
