"""The whole loop on the embedded simulator: collect, label, train, drive, score, report.

Each step is a documented command of its own; this runs them in order, says what each does and how long it took, and starts
where an earlier run was interrupted::

    python -m jobs.demo                      # everything below database/demo and outputs/demo
    python -m jobs.demo --from train         # again from one step on; what that and later steps wrote is put aside
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
from itertools import count
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
        output: Folder that the command goes on with when it finds it there; empty where it begins anew each time.
    """

    name: str
    purpose: str
    command: str
    output: str = ""


LABEL = "python -m dataset_generation"
EVALUATE = "python start_eval.py routes=data/routes/demo_eval.xml 'subset=\"901,902,903,904\"' workers={workers}"
STEPS = (
    Step(
        "collect",
        "the expert drives and records",
        LABEL + ".collect --routes data/routes/demo_collect.xml --out {data} --jobs {workers}",
        "{data}",
    ),
    Step("clean", "which drives training will leave out, and why", LABEL + ".clean --data {data}"),
    Step(
        "vqa", "questions and answers about every frame", LABEL + ".language_labels.vqa --data {data}", "{data}/drivelm"
    ),
    Step(
        "commentary",
        "what the expert does and why",
        LABEL + ".language_labels.commentary --data {data}",
        "{data}/commentary",
    ),
    Step(
        "dreaming",
        "instructions with the trajectories that follow them",
        LABEL + ".dreaming --data {data}",
        "{data}/dreamer",
    ),
    Step("buckets", "which frames are rare and worth seeing often", LABEL + ".buckets --data {data}"),
    Step("index", "one file that training samples from", LABEL + ".index --data {data}"),
    Step(
        "train",
        "simlingo_tiny learns from these drives, starting from the weights in data/checkpoints",
        "python train.py experiment=simlingo_tiny_tune data.root={data} out={out}/train trainer.max_minutes={minutes}",
        "{out}/train",
    ),
    Step(
        "expert", "the expert drives the held-out routes", EVALUATE + " agent=expert out={out}/expert", "{out}/expert"
    ),
    Step(
        "model",
        "the trained model drives the same routes",
        EVALUATE
        + " agent=simlingo checkpoint={out}/train/checkpoints/last out={out}/model compare={out}/expert"
        + " +agent_options.stuck_s=2",
        "{out}/model",
    ),
)
"""The loop in running order."""


def fill(step: Step, arguments: argparse.Namespace) -> str:
    """The step's command with the paths and numbers of this run."""
    data, out = (shlex.quote(str(folder)) for folder in (arguments.data, arguments.out))
    return step.command.format(data=data, out=out, workers=arguments.workers, minutes=f"{arguments.train_minutes:g}")


def put_aside(folder: Path) -> None:
    """Rename what an earlier run left, if anything, so that a step begins anew and nothing is lost."""
    if folder.exists():
        names = (folder.with_name(f"{folder.name}_before{number}") for number in count(1))
        kept = next(name for name in names if not name.exists())
        folder.rename(kept)
        print(f"what was there is now in {kept}")


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
    parser = argparse.ArgumentParser(
        prog="python -m jobs.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("database/demo"), help="where the recorded drives go")
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="where training and evaluations go")
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 2), help="drives at a time")
    parser.add_argument("--train-minutes", type=float, default=2.0, help="wall time of the training")
    parser.add_argument("--from", dest="first", default="", help="do this step and all after it again")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{step.name:10s} {fill(step, arguments)}" for step in STEPS))
        return 0
    if arguments.first not in ("", *(step.name for step in STEPS)):
        parser.error(f"--from names a step: {', '.join(step.name for step in STEPS)}; got {arguments.first!r}")
    return run_steps(arguments)


def run_steps(arguments: argparse.Namespace) -> int:
    """Run the steps that are not done; returns the exit status."""
    state_path = REPOSITORY / arguments.out / "demo.json"
    # How many work at a time changes nothing that is written.
    noted_as = {step.name: fill(step, argparse.Namespace(**{**vars(arguments), "workers": "N"})) for step in STEPS}
    has_data = (REPOSITORY / arguments.data).is_dir()
    state = read_state(state_path, noted_as, arguments.first if has_data else STEPS[0].name)
    for number, step in enumerate(STEPS, start=1):
        noted = state.pop(step.name, None)
        if noted is not None and noted["command"] == noted_as[step.name]:
            print(f"[{number}/{len(STEPS)}] {step.name}: done before ({noted['seconds']:.0f} s)")
            state[step.name] = noted
            continue
        output = step.output.format(data=arguments.data, out=arguments.out)
        if noted is not None and output and noted["output"] in (None, output):
            put_aside(REPOSITORY / output)
        write_state(state_path, state)
        try:
            seconds = run_step(step, fill(step, arguments), number)
        except subprocess.CalledProcessError as error:
            print(
                f"\nStep {step.name} ended with status {error.returncode}; mend it and run the same command again.",
                file=sys.stderr,
            )
            return 1
        state[step.name] = {"command": noted_as[step.name], "seconds": round(seconds, 1), "output": output}
        write_state(state_path, state)
    print("\n" + "  ".join(f"{step.name} {state[step.name]['seconds']:.0f} s" for step in STEPS))
    print(scores(REPOSITORY / arguments.out))
    return 0


def read_state(path: Path, commands: Mapping[str, str], first: str) -> dict[str, dict[str, Any]]:
    """What an earlier run noted of its steps: command, wall time (seconds) and output folder by name.

    Args:
        path: Where it did.
        commands: The command of every step in running order.
        first: Step to begin again at; empty for none.

    Returns:
        Steps that are done, with their command. An empty command stands for a step that must run again with what it wrote to
        that folder put aside: the first that was run otherwise than now and all after it, which read what earlier ones wrote,
        or, whatever their folders, `first` and all after it. Steps that never came to their end are missing, as are those that
        an earlier version noted without their folder; they go on with what there is.
    """
    noted = json.loads(path.read_text()) if path.exists() else {}
    state: dict[str, dict[str, Any]] = {}
    is_valid, is_chosen = True, False
    for name, command in commands.items():
        is_chosen = is_chosen or name == first
        is_valid = is_valid and not is_chosen and name in noted and noted[name]["command"] == command
        if is_valid:
            state[name] = noted[name]
        elif is_chosen:
            state[name] = {"command": "", "seconds": 0.0, "output": None}
        elif "output" in noted.get(name, ()):
            state[name] = {**noted[name], "command": ""}
    return state


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Keep the notes for the next run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, state)


if __name__ == "__main__":
    sys.exit(main())
