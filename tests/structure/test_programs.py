"""Every program explains itself, and the commands that the README prints exist with the options they are given."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from tests.programs import run_program
from tests.structure.test_structure import FOLDERS, ROOT

NOT_OURS = {"pip", "pytest", "venv"}
PASSES_ON = {"leaderboard.resume_check": "leaderboard.leaderboard_evaluator"}
"""Program -> the one that gets those of its options which it does not know."""


def is_program(tree: ast.Module) -> bool:
    """Whether a module does something when it is run."""
    return any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in tree.body)


def programs() -> Iterator[str]:
    """Names under which `python -m` runs the modules of the repository that read a command line."""
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if is_program(ast.parse(text)):
                parts = [package, *path.relative_to(folder).with_suffix("").parts]
                yield ".".join(parts[:-1] if parts[-1] == "__main__" else parts)


@cache
def help_of(*words: str) -> str:
    """What `python -m WORDS… --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        run_program(*words, "--help")
    assert ended.value.code == 0
    return printed.getvalue()


def options_of(program: str, command: str) -> set[str]:
    """The options that a program takes, and those of its subcommands that a command line names."""
    texts = [help_of(program)]
    choices = {name for group in re.findall(r"^ +\{([\w,-]+)\}", texts[0], re.MULTILINE) for name in group.split(",")}
    texts += [help_of(program, word) for word in sorted(choices & set(command.split()))]
    usages = " ".join(text.split("\n\n", 1)[0] for text in texts)
    with_short_names = re.findall(r"^ +-\w[^\n]*?, (--[\w-]+)", "\n".join(texts), re.MULTILINE)
    passed_on = options_of(PASSES_ON[program], "") if program in PASSES_ON else set()
    return set(re.findall(r"(?<![\w-])--[\w-]+", usages)) | set(with_short_names) | passed_on


def options_in(command: str) -> set[str]:
    """The options that a command line uses."""
    return set(re.findall(r"(?<!\S)--[\w-]+", command))


@pytest.mark.parametrize("program", list(programs()))
def test_help_shows_a_command_that_works(program: str) -> None:
    usage, _, description = help_of(program).partition("\n\n")
    assert usage.startswith(f"usage: python -m {program}"), "the usage shows how the program is started"
    examples = " ".join(re.findall(rf"python -m {re.escape(program)}(?![\w.])([^\n]*)", description))
    assert f"python -m {program}" in description, f"the help of {program} shows no example:\n{description}"
    assert options_in(examples) <= options_of(program, examples)


@pytest.mark.parametrize("entry", ["train", "start_eval"])
def test_an_entry_point_tells_its_options_without_loading_torch(entry: str) -> None:
    """Seconds that nobody who asks for help wants to wait."""
    run = (
        f"import runpy, sys; sys.argv = ['{entry}.py', '--help']\ntry: runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    code = f"{run}\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    assert ended.returncode == 0


def readme_commands() -> list[tuple[str, str]]:
    """(module, rest of the line) of every `python -m` in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"python -m ([\w.]+)([^`#\n|]*)", text)
    return [(module, rest) for module, rest in found if module not in NOT_OURS]


def test_the_readme_names_programs_and_options_that_exist() -> None:
    wrong = []
    known = set(programs())
    for module, rest in readme_commands():
        if importlib.util.find_spec(module) is None or module not in known:
            wrong.append(f"python -m {module}: no such program")
            continue
        unknown = options_in(rest) - options_of(module, rest)
        wrong += [f"python -m {module} has no {name}" for name in sorted(unknown)]
    assert not wrong, "\n".join(wrong)


def test_the_readme_names_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = "|".join(path.name for path in FOLDERS.values() if path.parent == ROOT)
    named = set(re.findall(rf"`((?:{folders}|config|data|tests|docs)/[\w./-]+\.\w+)`", text))
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
    assert all((ROOT / target).exists() for target in re.findall(r"\]\((?!http|#)([^)]+)\)", text))
