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
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.worker import write_json_atomically

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Step:
    """One command of the loop.

    Attributes:
        name: Short name for `--from`.
        purpose: What it does, for the reader of the console.
        command: As typed in a shell; `{data}`, `{out}`, `{workers}` and `{minutes}` are filled in.
    """

    name: str
    purpose: str
    command: str


LABEL = "python -m dataset_generation"
EVALUATE = "python start_eval.py routes=data/routes/demo_eval.xml 'subset=\"901,902,903,904\"' workers={workers}"
STEPS = (
    Step(
        "collect",
        "the expert drives and records",
        LABEL + ".collect --routes data/routes/demo_collect.xml --out {data} --jobs {workers}",
    ),
    Step("clean", "which drives training will leave out, and why", LABEL + ".clean --data {data}"),
    Step("vqa", "questions and answers about every frame", LABEL + ".language_labels.vqa --data {data}"),
    Step("commentary", "what the expert does and why", LABEL + ".language_labels.commentary --data {data}"),
    Step("dreaming", "instructions with the trajectories that follow them", LABEL + ".dreaming --data {data}"),
    Step("buckets", "which frames are rare and worth seeing often", LABEL + ".buckets --data {data}"),
    Step("index", "one file that training samples from", LABEL + ".index --data {data}"),
    Step(
        "train",
        "simlingo_tiny learns from these drives, starting from the weights in data/checkpoints",
        "python train.py experiment=simlingo_tiny_tune data.root={data} out={out}/train trainer.max_minutes={minutes}",
    ),
    Step("expert", "the expert drives the held-out routes", EVALUATE + " agent=expert out={out}/expert"),
    Step(
        "model",
        "the trained model drives the same routes",
        EVALUATE
        + " agent=simlingo checkpoint={out}/train/checkpoints/last out={out}/model compare={out}/expert"
        + " +agent_options.stuck_s=5",
    ),
)
"""The loop in running order."""


def fill(step: Step, arguments: argparse.Namespace) -> str:
    """The step's command with the paths and numbers of this run."""
    return step.command.format(
        data=arguments.data, out=arguments.out, workers=arguments.workers, minutes=f"{arguments.train_minutes:g}"
    )


def run_step(step: Step, command: str, number: int) -> float:
    """Run one step with its output on the console; returns its wall time, seconds.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    print(f"\n[{number}/{len(STEPS)}] {step.name}: {step.purpose}\n    {command}", flush=True)
    started = time.monotonic()
    program = [sys.executable, *shlex.split(command)[1:]]
    environment = {**os.environ, "WANDB_MODE": os.environ.get("WANDB_MODE", "offline")}
    subprocess.run(program, cwd=REPOSITORY, check=True, env=environment)
    return time.monotonic() - started


def scores(out: Path) -> str:
    """The last lines of the demo: both drivers' scores and where to look."""
    lines = []
    for name in ("expert", "model"):
        table = json.loads((out / name / "results.json").read_text())
        score, success = table["driving_score"]["value"], table["success_rate"]["value"]
        lines.append(
            f"{name:7s} driving score {score:6.2f}   success rate {success:6.2f} %   "
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
    parser.add_argument("--train-minutes", type=float, default=2.0, help="wall time of the training")
    parser.add_argument("--from", dest="first", default="", help="start again at this step")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{step.name:10s} {fill(step, arguments)}" for step in STEPS))
        return 0
    state_path = REPOSITORY / arguments.out / "demo.json"
    commands = {step.name: fill(step, arguments) for step in STEPS}
    has_data = (REPOSITORY / arguments.data).is_dir()
    done = done_before(state_path, commands, arguments.first) if has_data else {}
    for number, step in enumerate(STEPS, start=1):
        if step.name in done:
            print(f"[{number}/{len(STEPS)}] {step.name}: done before ({done[step.name]['seconds']:.0f} s)")
            continue
        try:
            seconds = run_step(step, commands[step.name], number)
        except subprocess.CalledProcessError as error:
            print(
                f"\nStep {step.name} ended with status {error.returncode}; mend it and run the same command again.",
                file=sys.stderr,
            )
            return 1
        done[step.name] = {"command": commands[step.name], "seconds": round(seconds, 1)}
        state_path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(state_path, done)
    print("\n" + "  ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in done.items()))
    print(scores(REPOSITORY / arguments.out))
    return 0


def done_before(path: Path, commands: Mapping[str, str], first: str) -> dict[str, dict[str, Any]]:
    """Steps that need not run again, by name, with command and wall time (seconds).

    Args:
        path: Where an earlier run noted what it had done.
        commands: The command of every step in running order. From the first one that differs from what was run on,
            nothing counts as done: later steps read what earlier ones wrote.
        first: Step from which on nothing counts as done either; empty for none.

    Raises:
        SystemExit: If there is no step of that name.
    """
    if first and first not in commands:
        raise SystemExit(f"--from names a step: {', '.join(commands)}; got {first!r}")
    noted = json.loads(path.read_text()) if path.exists() else {}
    done: dict[str, dict[str, Any]] = {}
    for name, command in commands.items():
        if name == first or name not in noted or noted[name]["command"] != command:
            break
        done[name] = noted[name]
    return done


if __name__ == "__main__":
    sys.exit(main())
