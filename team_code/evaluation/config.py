"""Settings of `start_eval.py`. The values stand in ``config/start_eval.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

AGENTS: dict[str, tuple[str, str]] = {
    "simlingo": ("team_code/agent_simlingo.py", "SENSORS"),
    "simlingo_base": ("team_code/agent_simlingo_base.py", "SENSORS"),
    "expert": ("team_code/autopilot.py", "MAP"),
    "constant_speed": ("leaderboard/autoagents/constant_speed_agent.py", "SENSORS"),
}
"""Short name -> agent file and track. Any other file can be given by its path, with `track`."""

LEARNED_AGENTS = ("simlingo", "simlingo_base")
"""Agents that need a checkpoint, whose kind has the same name."""

RUN_FILES = ("outcomes.json", "manifest.json")
"""What an evaluation that has ended leaves in its folder, and a report of it reads."""

MODES = ("evaluate", "doctor", "report")
SIMULATORS = ("embedded", "carla")
CLUSTERS = ("local", "slurm")


@dataclass
class EvalConfig:
    """One evaluation.

    Attributes:
        agent: A name of `AGENTS` or the path of an agent file.
        track: Track of an agent given by path; empty for SENSORS.
        checkpoint: Checkpoint folder of a learned agent.
        agent_options: Fields of the agent's configuration, for example `route_as: command`.
        policy_server: Hold the model in one process that answers all agents in batches, instead of one model per job.
        routes: Route file.
        subset: Route ids and ranges of the file, for example `1,4-9` (in a shell: 'subset="1,4-9"'); empty for all.
        rules: Name of the rules profile.
        seeds: One complete pass over the routes for each.
        out: Output folder. The same folder again resumes.
        simulator: `embedded` or `carla`.
        launch: Command that launches the simulator instead of the usual one; `{port}`, `{town}`, `{seed}`, `{gpu}`.
        workers: Jobs at a time.
        threads: CPU threads of each model; 0 for an equal share of the cores. A network's last bits depend on them, so a number
            makes drives repeat with other numbers of workers and on other machines of the same kind.
        gpus: Graphics cards that the jobs are spread over, each with its simulator and its model.
        attempts: How often a route may be started before a crash stands.
        retry: Drive routes again that crashed or timed out in an earlier run in the same folder.
        routes_per_job: Most routes that share one simulator process; null for 40, or 10 of CARLA's.
        hang_timeout_s: Wall time without a tick after which a job is killed.
        wall_timeout_s: Wall time limit of one job.
        cluster: `local` processes or `slurm` jobs.
        slurm: Parameters of submitit for the jobs (slurm_partition, slurm_time, slurm_mem …).
        videos: Whether the report holds videos.
        mode: `evaluate`; `doctor` only checks; `report` only writes the report of an earlier run again.
        compare: Output folder of another run that the report compares with, or empty.
    """

    agent: str = "simlingo"
    track: str = ""
    checkpoint: str = ""
    agent_options: dict[str, Any] = field(default_factory=dict)
    policy_server: bool = False
    routes: str = "data/routes/demo_eval.xml"
    subset: str = ""
    rules: str = "bench2drive"
    seeds: list[int] = field(default_factory=lambda: [1])
    out: str = "outputs/eval/simlingo"
    simulator: str = "embedded"
    launch: list[str] = field(default_factory=list)
    workers: int = 2
    threads: int = 0
    gpus: int = 1
    attempts: int = 3
    retry: bool = False
    routes_per_job: int | None = None
    hang_timeout_s: float = 180.0
    wall_timeout_s: float = 86400.0
    cluster: str = "local"
    slurm: dict[str, Any] = field(default_factory=dict)
    videos: bool = True
    mode: str = "evaluate"
    compare: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("simulator", self.simulator, SIMULATORS),
            ("cluster", self.cluster, CLUSTERS),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")
        for name, number in (
            ("workers", self.workers),
            ("gpus", self.gpus),
            ("attempts", self.attempts),
            ("routes_per_job", self.routes_per_job),
        ):
            if number is not None and number < 1:
                raise ValueError(f"{name} is at least 1; got {number}")
        if self.threads < 0:
            raise ValueError(f"threads is 0 (an equal share of the cores) or more; got {self.threads}")
        if self.policy_server and self.cluster == "slurm":
            raise ValueError(
                "policy_server=true serves this machine only; on a cluster start `python -m team_code.policy_server "
                "--host 0.0.0.0 …` on a node and pass +agent_options.policy_server=<node>:<port>"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds lists each seed once, at least one; got {self.seeds}")

    @property
    def agent_file(self) -> Path:
        """The agent's file."""
        path = Path(AGENTS[self.agent][0] if self.agent in AGENTS else self.agent)
        return path if path.is_absolute() or path.exists() else REPOSITORY / path

    @property
    def agent_track(self) -> str:
        """The track the agent runs in."""
        return AGENTS[self.agent][1] if self.agent in AGENTS else self.track or "SENSORS"

    @property
    def routes_file(self) -> Path:
        """The route file, looked for here and in the repository."""
        path = Path(self.routes)
        return path if path.is_absolute() or path.exists() else REPOSITORY / path
