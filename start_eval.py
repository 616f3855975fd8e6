"""Evaluate an agent closed loop: routes to jobs, jobs to outcomes, outcomes to one table and a report.

Examples:
    python start_eval.py agent=simlingo checkpoint=outputs/simlingo_tiny/checkpoints/last
    python start_eval.py agent=expert routes=data/routes/demo_eval.xml seeds=[1,2] out=outputs/eval/expert
    python start_eval.py agent=simlingo checkpoint=… policy_server=true workers=4
    python start_eval.py mode=doctor agent=simlingo checkpoint=outputs/simlingo_tiny/checkpoints/last
    CARLA_ROOT=/opt/carla python start_eval.py simulator=carla routes=bench2drive220.xml gpus=4 workers=4
    python start_eval.py cluster=slurm +slurm.slurm_partition=gpu +slurm.slurm_time=240 workers=22

Running the same command again resumes: routes that have an outcome are not driven again, with retry=true those without a verdict
are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from Bench2Drive.junctions import read_route_infos
from driving.files import read_json, write_json
from jobs.executors import SubmitError
from jobs.fleet import RouteTask, open_journal, read_outcomes, write_outcomes
from jobs.journal import JournalBusy
from jobs.live import LiveView
from jobs.results import RouteResult
from team_code.evaluation import doctor, plan
from team_code.evaluation.config import RUN_FILES, EvalConfig
from team_code.evaluation.manifest import claim, write_manifest
from team_code.evaluation.service import policy_service
from team_code.evaluation.summary import Table, ability_scores, collect_rows, tabulate
from team_code.policy_client import PolicyServerError

ConfigStore.instance().store(name="eval_schema", node=EvalConfig)


def drive(config: EvalConfig) -> Table:
    """Drive what has not been driven yet and write outcomes, table and manifest."""
    out = Path(config.out)
    # The journal comes first: it keeps out a second supervisor, which would replace the policy server and the agents' settings.
    with closing(open_journal(out)) as journal:
        claim(config, out, holds_drives=any(event["event"] == "job" for event in journal.events))
        with policy_service(config) as served:
            fleet = plan.make_fleet(served, journal)
            if config.retry:
                fleet.reopen()
            with LiveView(f"{config.agent} on {config.rules}") as view:
                results = fleet.run(view)
    write_outcomes(out / "outcomes.json", results)
    # The manifest comes first: a table without it could not be read again.
    write_manifest(config, out)
    table = make_table(config, out, fleet.tasks, results)
    write_json(out / "results.json", table.to_json())
    return table


def make_table(config: EvalConfig, out: Path, tasks: Mapping[str, RouteTask], results: Sequence[RouteResult]) -> Table:
    """Read what the drives left in ``out``."""
    scenarios = {info.route_id: info.scenario_type for info in read_route_infos(config.routes_file)[0]}
    rows = collect_rows(out, tasks, results, scenarios)
    return tabulate(rows, ability_scores(rows, config))


def load_table(out: Path) -> Table:
    """The table of an earlier run, with the routes and seeds of that run.

    Raises:
        FileNotFoundError: If there was no run.
        ValueError: If its manifest or outcomes cannot be read.
    """
    path, manifest = (out / name for name in RUN_FILES)
    if not path.exists() or not manifest.exists():
        raise FileNotFoundError(f"{out} holds no finished evaluation (no {' or '.join(RUN_FILES)}); run it first")
    try:
        config = EvalConfig(**read_json(manifest)["config"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{manifest} is not the manifest of an evaluation of this version ({error}); drive again with another out="
        ) from error
    return make_table(config, out, {task.key: task for task in plan.read_tasks(config)}, read_outcomes(path))


def report(config: EvalConfig, table: Table) -> Path:
    """Write the report page."""
    from team_code.report.page import write_report  # slow to import, and nothing is drawn before the drives are over

    out = Path(config.out)
    other = load_table(Path(config.compare)) if config.compare else None
    return write_report(out, table, read_json(out / "manifest.json"), config.videos, other, config.compare)


def print_table(table: Table) -> None:
    """Print the result as text."""
    for row in table.rows:
        kinds = ", ".join(kind for kind, _ in row.infractions())
        outcome = row.result.outcome.value
        print(f"{row.task.key:24s} {outcome:10s} score {row.score:6.2f}  completion {row.completion:6.2f} %  {kinds}")
    score, success = table.driving_score, table.success_rate
    print(f"driving score    {score.value:6.2f}  (95 % interval {score.low:.2f} to {score.high:.2f})")
    print(f"success rate     {success.value:6.2f} %  (95 % interval {success.low:.2f} to {success.high:.2f})")
    print(f"route completion {table.completion:6.2f} %")
    if table.spread is not None:
        print(
            f"over {len(table.seeds)} seeds: deviation {table.spread[0]:.2f} points, {table.spread[1]:.2f} % successes"
        )
    if table.holes:
        print(
            f"INCOMPLETE: {table.holes} of {len(table.rows)} drives have no verdict; add retry=true to drive them again"
        )


def run(config: EvalConfig) -> int:
    """Evaluate, check or report; returns the exit status. A report needs neither checkpoint nor simulator any more."""
    if config.mode == "report":
        table = load_table(Path(config.out))
    else:
        findings = doctor.examine(config)
        good = all(finding.good for finding in findings)
        if config.mode == "doctor" or not good:
            print("\n".join(doctor.render(findings)))
            return 0 if good else 2
        table = drive(config)
    page = report(config, table)
    print_table(table)
    print(f"report: {page}")
    return 1 if table.holes else 0


@hydra.main(version_base=None, config_path="config", config_name="start_eval")
def main(raw: DictConfig) -> None:
    """Entry point. Exit codes: 0 all routes driven, 1 some were not, 2 wrong input, 130 interrupted."""
    try:
        config = OmegaConf.to_object(raw)
        assert isinstance(config, EvalConfig)
        status = run(config)
    except (OSError, JournalBusy, PolicyServerError, SubmitError, ValueError) as error:
        print(f"start_eval: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
