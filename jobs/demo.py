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
    Step("clean", "routes with failures or infractions move aside", LABEL + ".clean --data {data}"),
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
    done = load_state(state_path, arguments.first)
    for number, step in enumerate(STEPS, start=1):
        if step.name in done:
            print(f"[{number}/{len(STEPS)}] {step.name}: done before ({done[step.name]:.0f} s)")
            continue
        try:
            done[step.name] = round(run_step(step, fill(step, arguments), number), 1)
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


def load_state(path: Path, first: str) -> dict[str, Any]:
    """Steps that are done, by name, with their wall time; those from ``first`` on count as not done.

    Raises:
        SystemExit: If there is no step of that name.
    """
    names = [step.name for step in STEPS]
    if first and first not in names:
        raise SystemExit(f"--from names a step: {', '.join(names)}; got {first!r}")
    done = json.loads(path.read_text()) if path.exists() else {}
    keep = names[: names.index(first)] if first else names
    return {name: seconds for name, seconds in done.items() if name in keep}


if __name__ == "__main__":
    sys.exit(main())
