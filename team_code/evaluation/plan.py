"""From a configuration to jobs: tasks, the evaluator's command line, how simulators start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from driving.files import write_text
from jobs.executors import Executor, LocalExecutor, SlurmExecutor
from jobs.fleet import ClientCommand, Fleet, FleetConfig, RouteTask
from jobs.journal import Journal
from jobs.processes import usable_cores
from jobs.servers import CLIENT_PATIENCE_S, ServerSpec, literal
from leaderboard.utils.route_parser import RouteParser
from team_code.agent_config import AgentConfig
from team_code.evaluation.config import EvalConfig

SPIN_COUNT = "2000"
"""How long threads of a model look for the next product before they sleep, in looks of GNU's OpenMP. By its own measure they
take the cores from whatever else runs and then wait the longer; if they slept at once, a model alone would be slower with
several threads than with one."""


def read_tasks(config: EvalConfig) -> list[RouteTask]:
    """One task per route and seed, towns together so that simulators change them rarely.

    Raises:
        FileNotFoundError, ValueError: As `RouteParser.parse_routes_file`.
    """
    path = str(config.routes_file.resolve())
    routes = sorted(RouteParser.parse_routes_file(path, config.subset), key=lambda route: route.town)
    return [
        RouteTask(f"seed{seed}/{route.route_id}", route.route_id, path, route.town, seed)
        for seed in config.seeds
        for route in routes
    ]


def agent_settings(config: EvalConfig) -> AgentConfig:
    """All settings of a learned agent, those that were not given at their defaults.

    Raises:
        ValueError: If ``agent_options`` names a setting that there is not, or gives one a value that it cannot have.
    """
    try:
        options = OmegaConf.create({**config.agent_options, "checkpoint": config.checkpoint})
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(AgentConfig), options))
    except OmegaConfBaseException as error:
        raise ValueError(f"agent_options: {str(error).splitlines()[0]}") from error
    assert isinstance(settings, AgentConfig)
    return settings


def agent_argument(config: EvalConfig) -> str:
    """The text of ``--agent-config``: the checkpoint, or a YAML file written to the output folder when there are options."""
    if not config.agent_options:
        return config.checkpoint
    path = Path(config.out) / "agent.yaml"
    write_text(path, OmegaConf.to_yaml(OmegaConf.create({**config.agent_options, "checkpoint": config.checkpoint})))
    return str(path.resolve())


def client_command(config: EvalConfig) -> ClientCommand:
    """Makes the evaluator's command for the tasks of one job."""
    argument = agent_argument(config)

    def command(tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
        options = {
            "--host": "127.0.0.1",
            "--port": "{port}",
            "--traffic-manager-port": "{tm_port}",
            "--traffic-manager-seed": str(tasks[0].seed),
            "--routes": literal(tasks[0].routes_file),
            "--routes-subset": ",".join(task.route_id for task in tasks),
            "--track": config.agent_track,
            "--agent": literal(str(config.agent_file)),
            "--agent-config": literal(argument),
            "--checkpoint": literal(str(results)),
            "--rules": config.rules,
            "--wait-for-server": str(CLIENT_PATIENCE_S),
        }
        pairs = [text for name, value in options.items() for text in (name, value)]
        return (literal(sys.executable), "-m", "leaderboard.leaderboard_evaluator", *pairs)

    return command


def server_spec(config: EvalConfig) -> ServerSpec:
    """How simulators are launched."""
    spec = ServerSpec() if config.simulator == "embedded" else ServerSpec.carla()
    if not config.launch:
        return spec
    return replace(spec, command=tuple(config.launch))


def executor(config: EvalConfig) -> Executor:
    """Where jobs run."""
    if config.cluster == "local":
        return LocalExecutor()
    return SlurmExecutor(Path(config.out) / "slurm", dict(config.slurm))


def model_threads(config: EvalConfig) -> int | None:
    """CPU threads of the model in each job; None where a SLURM job's own cores decide."""
    if config.threads:
        return config.threads
    # Several models that each want every core slow each other down many times over.
    return None if config.cluster == "slurm" else max(1, usable_cores() // config.workers)


def make_fleet(config: EvalConfig, journal: Journal | None = None) -> Fleet:
    """The supervisor of this evaluation, resumed if the output folder holds an earlier run; ``journal`` is the folder's, if
    it is open."""
    environment = {"SAVE_PATH": "{folder}/drive", "GOMP_SPINCOUNT": SPIN_COUNT}
    threads = model_threads(config)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if config.gpus > 1:
        environment["CUDA_VISIBLE_DEVICES"] = "{card}"
    fleet_config = FleetConfig(
        out=Path(config.out),
        workers=config.workers,
        attempts=config.attempts,
        routes_per_job=config.routes_per_job,
        server=server_spec(config),
        client_waits=True,
        hang_timeout_s=config.hang_timeout_s,
        wall_timeout_s=config.wall_timeout_s,
        environment=environment,
        gpus=config.gpus,
    )
    return Fleet(fleet_config, read_tasks(config), client_command(config), executor(config), journal)
