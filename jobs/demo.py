"""The whole loop on the embedded simulator: collect, label, train, drive, score, report.

Each step is a documented command of its own; this runs them in order, says what each does and how long it took, and starts
where an earlier run was interrupted::

    python -m jobs.demo                      # everything below database/demo and outputs/demo
    python -m jobs.demo --from train         # again from one step on
    python -m jobs.demo --list               # the commands, without running them
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.worker import write_json_atomically

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """One command of the loop.

    Attributes:
        name: Short name for `--from`.
        purpose: What it does, for the reader of the console.
        command: Program and arguments.
    """

    name: str
    purpose: str
    command: tuple[str, ...]


def steps(data: Path, out: Path, workers: int, train_minutes: float) -> list[Step]:
    """The loop in running order."""
    python = (PYTHON, "-m")
    labels = ("--data", str(data))
    evaluate = ("start_eval.py", "routes=data/routes/demo_eval.xml", f"workers={workers}")
    checkpoint = out / "train" / "checkpoints" / "last"
    return [
        Step(
            "collect", "the expert drives and records",
            (*python, "dataset_generation.collect", "--routes", "data/routes/demo_collect.xml", "--out", str(data), "--jobs", str(workers)),
        ),
        Step("clean", "routes with failures or infractions move aside", (*python, "dataset_generation.clean", *labels)),
        Step("vqa", "questions and answers about every frame", (*python, "dataset_generation.language_labels.vqa", *labels)),
        Step("commentary", "a sentence on what the expert does and why", (*python, "dataset_generation.language_labels.commentary", *labels)),
        Step("dreaming", "instructions with the trajectories that follow them", (*python, "dataset_generation.dreaming", *labels)),
        Step("buckets", "which frames are rare and worth seeing often", (*python, "dataset_generation.buckets", *labels)),
        Step("index", "one file that training samples from", (*python, "dataset_generation.index", *labels)),
        Step(
            "train", f"simlingo_tiny learns from scratch, {train_minutes:g} minutes",
            (PYTHON, "train.py", "experiment=simlingo_tiny", f"data.root={data}", f"out={out / 'train'}", f"trainer.max_minutes={train_minutes:g}"),
        ),
        Step("expert", "the expert drives the held-out routes", (PYTHON, *evaluate, "agent=expert", f"out={out / 'expert'}")),
        Step(
            "model", "the trained model drives the same routes",
            (PYTHON, *evaluate, "agent=simlingo", f"checkpoint={checkpoint}", f"out={out / 'model'}", f"compare={out / 'expert'}"),
        ),
    ]  # fmt: skip


def run_step(step: Step, number: int, total: int) -> float:
    """Run one step with its output on the console; returns its wall time, seconds.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    print(f"\n[{number}/{total}] {step.name}: {step.purpose}\n    {shell_line(step)}", flush=True)
    started = time.monotonic()
    environment = {**os.environ, "WANDB_MODE": os.environ.get("WANDB_MODE", "offline")}
    subprocess.run(step.command, cwd=REPOSITORY, check=True, env=environment)
    return time.monotonic() - started


def shell_line(step: Step) -> str:
    """The command as one would type it."""
    return " ".join("python" if part == PYTHON else part for part in step.command)


def scores(out: Path) -> str:
    """The last lines of the demo: both drivers' scores and where to look."""
    lines = []
    for name in ("expert", "model"):
        table = json.loads((out / name / "results.json").read_text())
        lines.append(
            f"{name:7s} driving score {table['driving_score']['value']:6.2f}   success rate {table['success_rate']['value']:6.2f} %   "
            f"route completion {table['route_completion']:6.2f} %   ({table['routes']} routes)"
        )
    lines += [f"report of the {name}: {out / name / 'report.html'}" for name in ("expert", "model")]
    return "\n".join(lines)


def main() -> int:
    """Entry point of ``python -m jobs.demo``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("database/demo"), help="where the recorded drives go")
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="where training and evaluations go")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 2), help="drives at a time")
    parser.add_argument("--train-minutes", type=float, default=3.0, help="wall time of the training")
    parser.add_argument("--from", dest="first", default="", help="start again at this step")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    arguments = parser.parse_args()
    plan = steps(arguments.data, arguments.out, arguments.workers, arguments.train_minutes)
    if arguments.list:
        print("\n".join(f"{step.name:10s} {shell_line(step)}" for step in plan))
        return 0
    state_path = REPOSITORY / arguments.out / "demo.json"
    done = load_state(state_path, plan, arguments.first)
    for number, step in enumerate(plan, start=1):
        if step.name in done:
            print(f"[{number}/{len(plan)}] {step.name}: done before ({done[step.name]:.0f} s)")
            continue
        try:
            done[step.name] = round(run_step(step, number, len(plan)), 1)
        except subprocess.CalledProcessError as error:
            print(
                f"\nStep {step.name} ended with status {error.returncode}; mend it and run the same command again.",
                file=sys.stderr,
            )
            return 1
        state_path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(state_path, done)
    print("\n" + "  ".join(f"{name} {seconds:.0f} s" for name, seconds in done.items()))
    print(scores(REPOSITORY / arguments.out))
    return 0


def load_state(path: Path, plan: list[Step], first: str) -> dict[str, Any]:
    """Steps that are done, by name, with their wall time; those from ``first`` on count as not done.

    Raises:
        SystemExit: If there is no step of that name.
    """
    names = [step.name for step in plan]
    if first and first not in names:
        raise SystemExit(f"--from names a step: {', '.join(names)}; got {first!r}")
    done = json.loads(path.read_text()) if path.exists() else {}
    keep = names[: names.index(first)] if first else names
    return {name: seconds for name, seconds in done.items() if name in keep}


if __name__ == "__main__":
    sys.exit(main())
