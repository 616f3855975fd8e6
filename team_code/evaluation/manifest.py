"""What produced a result: hashes, versions, seeds, rules. And whether a folder may be continued with a configuration."""

from __future__ import annotations

import platform
import subprocess
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from driving.files import file_hash, read_json, write_json
from leaderboard.rules import rules_by_name
from team_code.evaluation.config import AGENTS, LEARNED_AGENTS, REPOSITORY, EvalConfig
from team_code.evaluation.plan import agent_settings, model_threads

PACKAGES = ("carla", "torch", "transformers", "peft", "numpy", "numba")
IDENTITY = "identity.json"


def identity(config: EvalConfig) -> dict[str, Any]:
    """What every drive of one result must have in common. Seeds and routes may be added to later, and a policy server may
    move."""
    checkpoint = Path(config.checkpoint) if config.checkpoint else None
    settings = asdict(agent_settings(config)) if config.agent in LEARNED_AGENTS else dict(config.agent_options)
    settings.pop("policy_server", None)
    own = {} if config.agent in AGENTS else {"agent_sha256": file_hash(config.agent_file)}
    return {
        "agent": str(config.agent),
        **own,
        "agent_settings": settings,
        "weights_sha256": file_hash(checkpoint / "model.safetensors") if checkpoint else None,
        "routes_sha256": file_hash(config.routes_file),
        "rules": rules_by_name(config.rules).describe(),
        "simulator": config.simulator,
    }


def claim(config: EvalConfig, out: Path, holds_drives: bool) -> None:
    """Make the folder this evaluation's, or check that it already is.

    Args:
        config: The evaluation.
        out: Its folder.
        holds_drives: Whether any drive was begun in it; otherwise it may become another evaluation's.

    Raises:
        ValueError: If it holds drives of another evaluation; the message names the differences.
    """
    path, mine = out / IDENTITY, identity(config)
    if not holds_drives or not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, mine)
        return
    theirs = read_json(path)
    if not isinstance(theirs, dict) or not isinstance(theirs.get("agent_settings"), dict):
        raise ValueError(f"{path} is not what an evaluation writes there; choose another out=")
    # Folders of earlier versions lack the file's hash and hold the address.
    theirs["agent_settings"].pop("policy_server", None)
    differing = [
        name for name in mine if mine[name] != theirs.get(name, mine[name] if name == "agent_sha256" else None)
    ]
    if differing:
        raise ValueError(
            f"{out} holds drives of another evaluation, which differs in {', '.join(differing)}; one table of both would say "
            "nothing. Choose another out=, or remove the folder"
        )


def code_version() -> str:
    """Commit of the repository, with `+changes` when files differ from it; `unknown` outside a checkout."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return "unknown"
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def write_manifest(config: EvalConfig, out: Path) -> dict[str, Any]:
    """Write ``manifest.json``: everything that someone needs to get the same numbers again."""
    manifest = {
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": asdict(config),
        "model_threads": model_threads(config),
        **identity(config),
        "agent_sha256": file_hash(config.agent_file),
        "code": code_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
    write_json(out / "manifest.json", manifest)
    return manifest
