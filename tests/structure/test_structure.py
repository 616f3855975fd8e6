"""The shape of the repository: which way imports point, that an idea is written once, that configurations name real code."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BELOW_TEAM_CODE = {
    "driving", "jobs", "srunner", "leaderboard", "Bench2Drive", "simlingo_training", "simlingo_base_training",
}  # fmt: skip

MAY_IMPORT: dict[str, set[str]] = {
    "driving": set(),
    "jobs": set(),
    "carla_server": set(),
    "srunner": {"driving"},
    "leaderboard": {"srunner", "driving"},
    "Bench2Drive": {"leaderboard", "srunner", "driving"},
    "simlingo_training": {"driving"},
    "simlingo_base_training": {"simlingo_training", "driving"},
    "dataset_generation": {"driving", "jobs"},
    "team_code": BELOW_TEAM_CODE,
}
"""Package -> packages of the repository that it may import. The entry points train.py and start_eval.py may import anything."""

FOLDERS = {package: ROOT / package for package in MAY_IMPORT} | {"srunner": ROOT / "scenario_runner" / "srunner"}
SMALLEST_BODY = 6
"""Statements from which on two functions of equal body count as one idea written twice."""


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files of the repository: tracked ones and new ones that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(path for name in listing.stdout.splitlines() if (path := ROOT / name).is_file())


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    """Parsed modules of a package."""
    for path in sorted(FOLDERS[package].rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Full names of the modules that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules(package)
        for name in imported(tree)
        if name.split(".")[0] in set(MAY_IMPORT) | {"train", "start_eval"} and name.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_vocabulary_needs_neither_simulator_nor_network_library() -> None:
    heavy = {"carla", "torch", "transformers", "pytorch_lightning"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, tree in modules("driving")
        for name in imported(tree)
        if name.split(".")[0] in heavy
    ]
    assert not wrong, "\n".join(wrong)


def test_wire_protocol_owns_no_socket() -> None:
    wire = ROOT / "carla_server" / "wire"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in wire.rglob("*.py")
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in {"socket", "asyncio", "selectors", "threading"}
    ]
    assert not wrong, "\n".join(wrong)


def body_key(function: ast.FunctionDef) -> str | None:
    """The statements of a function without its docstring, or None when they are too few to be an idea."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if sum(isinstance(node, ast.stmt) for statement in body for node in ast.walk(statement)) < SMALLEST_BODY:
        return None
    return "\n".join(ast.dump(statement) for statement in body)


def test_each_function_is_written_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for package in MAY_IMPORT:
        for path, tree in modules(package):
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and (key := body_key(node)) is not None:
                    places[key].append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    twice = [" = ".join(found) for found in places.values() if len(found) > 1]
    assert not twice, "\n".join(twice)


def config_targets() -> list[tuple[str, str]]:
    """(file, dotted name) of every `_target_` below config/."""
    pattern = re.compile(r"^\s*_target_:\s*[\"']?([\w.]+)", re.MULTILINE)
    return [
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "config").rglob("*.yaml"))
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    ]


def test_every_target_of_a_configuration_resolves() -> None:
    for path, name in config_targets():
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{path} names {name}, which does not exist"


def test_configuration_folder_holds_values_only() -> None:
    assert not list((ROOT / "config").rglob("*.py"))
    assert not list((ROOT / "data").rglob("*.py"))


@pytest.mark.parametrize(
    "pattern", [r"(?<![\w.])/(?:work|root|home)/\w", r"trust_remote_code\s*=\s*True", r"PYTHONPATH"]
)
def test_no_file_names_a_machine_or_an_unsafe_habit(pattern: str) -> None:
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".html", ".lock", ""}
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        if path.suffix in kinds and path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_package_says_what_it_is() -> None:
    silent = [
        package
        for package, folder in FOLDERS.items()
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    ]
    assert not silent, f"no docstring in __init__.py of {', '.join(silent)}"


def test_tests_with_servers_have_processes_of_their_own() -> None:
    """The Makefile lists every test file that connects clients to servers."""
    listed = set(re.findall(r"tests/[\w/]+\.py", (ROOT / "Makefile").read_text(encoding="utf-8")))
    fixtures = re.compile(
        r"\b(carla_server_process|carla_client|sync_world|start_server|ServerProcess|scenes_test|evaluation: Evaluation)\b"
    )
    using = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != Path(__file__).resolve() and fixtures.search(path.read_text(encoding="utf-8"))
    }
    assert using == listed


def test_no_module_beside_an_agent_hides_an_installed_one() -> None:
    """The evaluator puts an agent's folder first on the import path, so `requests.py` there would be everyone's `requests`."""
    installed = set(sys.stdlib_module_names) | set(packages_distributions())
    beside = {path.stem for folder in ("team_code", "leaderboard/autoagents") for path in (ROOT / folder).glob("*.py")}
    beside |= {path.parent.name for path in (ROOT / "team_code").glob("*/__init__.py")}
    assert not (beside - {"__init__"}) & installed
