"""Kills an evaluation again and again and checks that its results do not notice.

The routes of a file are driven once undisturbed. Then they are driven again by a process that is killed (SIGKILL) at random
moments and continued with --resume each time. Both times must give the same records and the same driven paths. A server must
be running; options that are not listed go to the evaluator.

Example:

    python -m carla_server --port 2000 --town Mini01 &
    python -m leaderboard.resume_check --port 2000 --routes data/routes/demo_eval.xml --kills 5 --out outputs/resume_check \\
        --agent leaderboard/autoagents/npc_agent.py --rules bench2drive
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.utils.checkpoint_tools import progress_file

KILLED = -9
POLL_S = 0.02
DEFAULT_SPAN_S = 0.5
"""Longest wait for a kill when the undisturbed run took no time, seconds."""

PASSING = ("timestamp", "save_name")
"""Fields of a record that tell when it was made."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation that may be run in several pieces.

    Attributes:
        options: Options of the evaluator, without checkpoint and resume.
        checkpoint: Its results file.
    """

    options: tuple[str, ...]
    checkpoint: Path

    def start(self, resume: bool) -> subprocess.Popen[bytes]:
        """The evaluator as a process; what it prints goes to a log beside the results."""
        command = [sys.executable, "-m", "leaderboard.leaderboard_evaluator", *self.options]
        command += ["--checkpoint", str(self.checkpoint), "--traffic-manager-port", str(_free_port())]
        with open(self.checkpoint.with_suffix(".log"), "ab") as log:
            return subprocess.Popen([*command, *(["--resume"] if resume else [])], stdout=log, stderr=log)

    def records(self) -> dict[str, dict[str, Any]]:
        """Records by route id, without what tells when they were made."""
        content = json.loads(self.checkpoint.read_text(encoding="utf-8"))
        return {record["route_id"]: _lasting(record) for record in content["_checkpoint"]["records"]}

    def path(self, route_id: str) -> Any:
        """The driven path of a route and its infractions."""
        file = self.checkpoint.with_name(f"{self.checkpoint.stem}_trace") / f"{route_id}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def attempts(self) -> dict[str, int]:
        """How often each route was begun."""
        manifest = self.checkpoint.with_name(f"{self.checkpoint.stem}_manifest.json")
        return {
            name: row["attempts"] for name, row in json.loads(manifest.read_text(encoding="utf-8"))["routes"].items()
        }


def _free_port() -> int:
    """A port for the Traffic Manager: the one of a killed process may still be taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in record["meta"].items() if key != "duration_system"}
    return {key: value for key, value in record.items() if key not in PASSING} | {"meta": meta}


def run_undisturbed(evaluation: Evaluation) -> float:
    """Run an evaluation in one piece. Returns the seconds from its first sign of life to its end.

    Raises:
        RuntimeError: If it ends with an error.
    """
    process = evaluation.start(resume=False)
    begun = _wait_for_life(evaluation, process, 0)
    status = process.wait()
    if status != 0:
        log = evaluation.checkpoint.with_suffix(".log")
        raise RuntimeError(f"the undisturbed evaluation ended with status {status}; see {log}")
    return time.monotonic() - begun


def run_killed(evaluation: Evaluation, kills: int, seconds: float, seed: int) -> int:
    """Run an evaluation, kill it ``kills`` times and continue it to its end.

    Args:
        evaluation: What to run.
        kills: How often; fewer if it ends before.
        seconds: How long it takes undisturbed. Each piece lives for a random share of its part.
        seed: Seed of the moments.

    Returns:
        How often it was killed.

    Raises:
        RuntimeError: If a piece that was not killed ends with an error.
    """
    moments = random.Random(seed)
    done = 0
    while True:
        heartbeats = progress_file(evaluation.checkpoint)
        size = heartbeats.stat().st_size if heartbeats.exists() else 0
        process = evaluation.start(resume=done > 0)
        _wait_for_life(evaluation, process, size)
        if done < kills:
            try:
                process.wait(moments.uniform(0.0, max(seconds, DEFAULT_SPAN_S) / kills))
            except subprocess.TimeoutExpired:
                process.kill()
        status = process.wait()
        if status == KILLED:
            done += 1
        elif status == 0:
            return done
        else:
            log = evaluation.checkpoint.with_suffix(".log")
            raise RuntimeError(f"the evaluation ended with status {status} after {done} kills; see {log}")


def _wait_for_life(evaluation: Evaluation, process: subprocess.Popen[bytes], size: int) -> float:
    """Wait until a process has written more than ``size`` bytes of progress, or has ended. Returns the time of it."""
    heartbeats = progress_file(evaluation.checkpoint)
    while process.poll() is None and (not heartbeats.exists() or heartbeats.stat().st_size <= size):
        time.sleep(POLL_S)
    return time.monotonic()


def differing(first: Evaluation, second: Evaluation) -> list[str]:
    """Ids of routes whose record or driven path differs, or that only one of two evaluations has."""
    ours, theirs = first.records(), second.records()
    return sorted(
        name
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name) or first.path(name) != second.path(name)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; the last line is JSON. Returns 0 if nothing differs, 1 if something does, 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m leaderboard.resume_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=5, help="how often the second evaluation is killed (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("outputs/resume_check"), help="folder (default: %(default)s)")
    own, options = parser.parse_known_args(arguments)
    own.out.mkdir(parents=True, exist_ok=True)
    # A route that is killed again and again must not be given up.
    patient = (*options, "--max-attempts", str(own.kills + 2))
    whole, pieces = (Evaluation(patient, own.out / f"{name}.json") for name in ("whole", "pieces"))
    progress_file(pieces.checkpoint).unlink(missing_ok=True)
    progress_file(whole.checkpoint).unlink(missing_ok=True)
    try:
        seconds = run_undisturbed(whole)
        kills = run_killed(pieces, own.kills, seconds, own.seed)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    wrong = differing(whole, pieces)
    attempts = pieces.attempts()
    print(f"{len(attempts)} routes, killed {kills} times, {sum(attempts.values())} begins: {len(wrong)} routes differ")
    print(json.dumps({"routes": len(attempts), "kills": kills, "attempts": attempts, "differing": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
