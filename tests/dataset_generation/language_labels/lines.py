"""Which lines of some modules a call does not take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

OPTIMIZED = 1
"""Flag of code objects that are functions rather than bodies of classes."""


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Code objects of all functions, and of what is inside them, in a module's or a class's code object."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and not inner.co_name.endswith("comp>"):
            if inner.co_flags & OPTIMIZED:
                yield inner
            yield from _functions(inner)


def untaken(modules: Iterable[ModuleType], call: Callable[[], Any]) -> list[str]:
    """Run ``call`` and list the lines of functions in ``modules`` that it did not reach, with their text.

    Lines that begin a ``raise`` do not count: they are for records that have no meaning.
    """
    sources = {str(module.__file__): Path(str(module.__file__)).read_text().splitlines() for module in modules}
    taken: set[tuple[str, int]] = set()

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            taken.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        return local if frame.f_code.co_filename in sources else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    finally:
        sys.settrace(before)
    missing = []
    for name, lines in sources.items():
        functions = list(_functions(compile("\n".join(lines), name, "exec")))
        numbers = {
            number for code in functions for _, _, number in code.co_lines() if number and number != code.co_firstlineno
        }
        for number in sorted(numbers):
            text = lines[number - 1].strip()
            if (name, number) not in taken and not text.startswith(("raise ", "def ", "@")):
                missing.append(f"{name.rpartition('/')[2]}:{number}: {text}")
    return missing
