"""Drives the routes of a file with an agent on a running server and writes the official results.

Example:

    python -m carla_server --port 2000 --town Mini01 &
    python -m leaderboard.leaderboard_evaluator --port 2000 --routes data/routes/demo_eval.xml \\
        --agent leaderboard/autoagents/npc_agent.py --rules bench2drive --checkpoint outputs/results.json
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import carla
import numpy as np

from driving.arguments import positive
from leaderboard.autoagents.agent_wrapper import (
    AgentLoadError,
    AgentShape,
    AgentWrapper,
    agent_shape,
    load_agent_class,
)
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.autoagents.sensor_rules import TICK_S, SensorSpec, sensor_icons, validate_sensors
from leaderboard.envs.sensor_interface import SensorConfigurationInvalid, SensorReceivedNoData
from leaderboard.rules import RULES_BY_NAME, Rules, rules_by_name
from leaderboard.scenarios.route_scenario import RouteScenario
from leaderboard.scenarios.scenario_manager import AgentError, ScenarioManager, TickLimitReached
from leaderboard.scenarios.watchdog import Stage, Watchdog, can_listen, server_answers
from leaderboard.utils.checkpoint_tools import Checkpoint, CheckpointError, Heartbeat
from leaderboard.utils.result_writer import console_report, live_report
from leaderboard.utils.route_indexer import index_runs
from leaderboard.utils.statistics_manager import (
    BenchmarkFields,
    EntryStatus,
    FailureReason,
    RouteMeta,
    RouteRecord,
    make_record,
    make_unstarted_record,
)
from leaderboard.utils.weather_ids import find_weather_id
from srunner.scenarioconfigs.route_scenario_configuration import RouteScenarioConfiguration
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider

LOG = logging.getLogger(__name__)

LARGE_MAP_DISTANCE_M = 650.0
SERVER_POLL_S = 0.05
EXIT_CRASHED = 255
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_UNWRITABLE = 74
"""EX_IOERR of sysexits.h: results could not be written."""


@dataclass(frozen=True)
class Options:
    """The command line. See `build_parser` for the meaning of each field."""

    host: str
    port: int
    traffic_manager_port: int
    traffic_manager_seed: int
    routes: Path
    routes_subset: str
    repetitions: int
    track: Track
    agent: Path
    agent_config: str
    checkpoint: Path
    resume: bool
    timeout: float
    debug: int
    rules: Rules
    record: str
    max_attempts: int
    traffic: bool
    wait_for_server: float


def parse_bool(text: str) -> bool:
    """``true``/``1``/``yes`` or ``false``/``0``/``no``.

    Raises:
        argparse.ArgumentTypeError: For any other text.
    """
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no", ""):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def build_parser() -> argparse.ArgumentParser:
    """The command line; names and defaults are those of the official evaluator."""
    parser = argparse.ArgumentParser(
        prog="python -m leaderboard.leaderboard_evaluator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="localhost", help="server host (default: %(default)s)")
    add("--port", type=int, default=2000, help="server RPC port (default: %(default)s)")
    add("--traffic-manager-port", type=int, default=8000, help="Traffic Manager port (default: %(default)s)")
    add("--traffic-manager-seed", type=int, help="seed of everything random; default: 0, collection rules 100")
    add("--routes", type=Path, required=True, help="route XML")
    add("--routes-subset", default="", help="ids and ranges, e.g. 1711,2050-2091 (default: all)")
    add("--repetitions", type=positive, default=1, help="how often each route is driven (default: %(default)s)")
    add("--track", default="SENSORS", choices=[track.value for track in Track], help="default: %(default)s")
    add("-a", "--agent", type=Path, required=True, help="Python file that defines get_entry_point()")
    add("--agent-config", default="", help="text handed to the agent's setup()")
    add("--checkpoint", type=Path, default=Path("simulation_results.json"), help="results file (default: %(default)s)")
    add(
        "--resume",
        type=parse_bool,
        nargs="?",
        const=True,
        default=False,
        help="continue the run in --checkpoint: keep finished routes, drive the others (without: earlier files are moved aside)",
    )
    add(
        "--max-attempts",
        type=positive,
        default=3,
        help="with --resume: how often a route that crashes is begun (default: %(default)s)",
    )
    add("--timeout", type=float, help="seconds of wall clock for any single step; default: 300, Bench2Drive 600")
    add(
        "--wait-for-server",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long the server may take to answer at first, for one started at the same time (default: %(default)g)",
    )
    add("--debug", type=int, default=0, help="1: draw the route; 2: also write live results")
    add("--record", default="", help="folder on the server's machine for CARLA recordings")
    add("--rules", default="leaderboard_2_0", choices=list(RULES_BY_NAME), help="benchmark (default: %(default)s)")
    add("--no-traffic", dest="traffic", action="store_false", help="leave out background traffic (not for benchmarks)")
    return parser


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line."""
    values = vars(build_parser().parse_args(arguments))
    rules = rules_by_name(values.pop("rules"))
    if values["timeout"] is None:
        values["timeout"] = rules.timeout_s
    if values["traffic_manager_seed"] is None:
        values["traffic_manager_seed"] = rules.traffic_manager_seed
    values["track"] = Track(values["track"])
    return Options(rules=rules, **values)


class RouteFailed(Exception):
    """A route ended for a reason outside its criteria.

    Attributes:
        reason: What kind of failure.
        ends_run: Whether the rules end the whole run here.
    """

    def __init__(self, reason: FailureReason, message: str, ends_run: bool):
        super().__init__(message)
        self.reason = reason
        self.ends_run = ends_run


@dataclass
class RouteRun:
    """What is known about the route that is being driven.

    Attributes:
        config: The route.
        attempt: Which attempt it is, from 1.
        started: Wall clock at its begin.
        wall_s: Seconds spent per stage.
        save_name: Name of the route's output folder.
        scenario, manager, agent: As far as they exist.
        failure: What went wrong, None if nothing did.
    """

    config: RouteScenarioConfiguration
    attempt: int
    started: datetime
    save_name: str
    wall_s: dict[str, float] = field(default_factory=dict)
    scenario: RouteScenario | None = None
    manager: ScenarioManager | None = None
    agent: AutonomousAgent | None = None
    wrapper: AgentWrapper | None = None
    failure: RouteFailed | None = None


class LeaderboardEvaluator:
    """Runs an evaluation from its options to its results file."""

    def __init__(self, options: Options):
        """Connects to the server and reads routes and agent.

        Raises:
            RouteFileError, AgentLoadError, CheckpointError: See there.
            RuntimeError: If no server answers, or the Traffic Manager's port is taken.
        """
        self.options = options
        self.rules = options.rules
        self.runs = index_runs(options.routes, options.routes_subset, options.repetitions)
        self._agent_class = load_agent_class(options.agent)
        self._shape = agent_shape(self._agent_class)
        self._client = self._connect()
        self._traffic_manager: carla.TrafficManager | None = None
        self._run: RouteRun | None = None
        self._specs: list[SensorSpec] | None = None
        self.checkpoint = Checkpoint(options.checkpoint, [run.run_id for run in self.runs], self._identity())
        self.checkpoint.start(options.resume)
        self._heartbeat = Heartbeat(options.checkpoint)
        self._watchdog = Watchdog(options.host, options.port, options.timeout, self._on_hang)

    def interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        """Handler of SIGINT, which comes from Ctrl-C or from the watchdog.

        The watchdog's signal may arrive when the stuck call has just returned on its own, with or without an error; then the
        stage is over and there is nothing to interrupt.
        """
        if self._watchdog.failure is None or not self._watchdog.is_idle:
            raise KeyboardInterrupt

    def _connect(self) -> carla.Client:
        host, port, own = self.options.host, self.options.port, self.options.traffic_manager_port
        if not can_listen(own):  # every route would seem to crash the simulation
            raise RuntimeError(f"port {own} is taken or not allowed; choose another with --traffic-manager-port")
        advice = f"start one with: python -m carla_server --port {port} --town {self.runs[0].town}"
        waited_until = time.monotonic() + self.options.wait_for_server
        while not (answers := server_answers(host, port)) and time.monotonic() < waited_until:
            time.sleep(SERVER_POLL_S)
        if not answers:
            raise RuntimeError(f"no carla_server or CARLA at {host}:{port}; {advice}")
        client = carla.Client(host, port)
        client.set_timeout(self.options.timeout)
        try:
            client.get_server_version()
        except RuntimeError as error:
            raise RuntimeError(
                f"what listens at {host}:{port} does not answer as CARLA does ({error}); {advice}"
            ) from error
        return client

    def _identity(self) -> dict[str, Any]:
        """What a result belongs to."""
        options = self.options
        return {
            "rules": self.rules.name,
            "rules_values": self.rules.describe(),
            "routes": str(options.routes),
            "routes_sha256": hashlib.sha256(options.routes.read_bytes()).hexdigest(),
            "routes_subset": options.routes_subset,
            "repetitions": options.repetitions,
            "agent": str(options.agent),
            "agent_config": options.agent_config,
            "track": options.track.value,
            "seed": options.traffic_manager_seed,
            "background_traffic": options.traffic,
            "client_version": self._client.get_client_version(),
            "server_version": self._client.get_server_version(),
            "python": platform.python_version(),
            "commit": _commit(),
        }

    # ---- the run ------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Drive all routes that are due. Returns the exit status of the process."""
        status, done, has_driven = EntryStatus.STARTED, 0, False
        self.checkpoint.write(0, status)
        for index, config in enumerate(self.runs):
            self.checkpoint.write(index, status)
            done = index
            if self.checkpoint.is_due(config.run_id, self.options.max_attempts):
                has_driven = True
                failure = self._run_route(index, config)
                if failure is not None and failure.reason is FailureReason.SIMULATION_CRASHED:
                    status = EntryStatus.CRASHED
                elif failure is not None and failure.reason is FailureReason.SENSORS_INVALID:
                    status = EntryStatus.REJECTED
                self.checkpoint.write(index + 1, status)
                if failure is not None and failure.ends_run:
                    self._watchdog.stop()
                    return EXIT_CRASHED
            elif config.run_id not in self.checkpoint.state.records:
                self.checkpoint.give_up(config.run_id)
            done = index + 1
        if has_driven:
            self._restore_world()
        self._watchdog.stop()
        _say("Registering the global statistics")
        self.checkpoint.write(done, status, is_final=True)
        return 0

    def _run_route(self, index: int, config: RouteScenarioConfiguration) -> RouteFailed | None:
        """Drive one route and keep its result, whatever happens."""
        started = datetime.now()
        attempt = self.checkpoint.begin(config.run_id)
        run = self._run = RouteRun(config, attempt, started, self._save_name(config, started))
        _say(f"\n========= Preparing {config.name} (repetition {config.repetition_index})")
        self._heartbeat.beat(config.run_id, 0, 0.0, 0.0, force=True)
        try:
            self._load(run)
            self._set_up_agent(run)
            self._drive(run)
        except RouteFailed as failure:
            run.failure = failure
            _say(f"{failure.reason.status}: {failure}", is_error=True)
        finally:
            self._watchdog.enter(Stage.IDLE)
        record = self._register(index, run)
        self._clean_up(run, record)
        self._run = None
        return run.failure

    def _guarded(self, stage: Stage, reason: FailureReason, ends_run: bool) -> _Guard:
        return _Guard(self._watchdog, stage, reason, ends_run)

    def _load(self, run: RouteRun) -> None:
        _say("Loading the world")
        started = time.monotonic()
        ends_run = self.rules.stop_on_simulation_crash
        with self._guarded(Stage.LOADING, FailureReason.SIMULATION_CRASHED, ends_run):
            self._load_world(run.config.town)
            traffic = self._traffic_manager if self.options.traffic else None
            seed = self.options.traffic_manager_seed
            run.scenario = RouteScenario(self._client, run.config, self.rules, seed, traffic)
            if self.options.debug > 0:
                run.scenario.draw()
        run.wall_s["load"] = time.monotonic() - started

    def _load_world(self, town: str) -> None:
        """Load the town afresh, synchronous at 20 Hz, and start every generator from the seed."""
        seed = self.options.traffic_manager_seed
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(seed)
        blackboard.clear()
        self._make_synchronous(self._client.get_world())
        world = self._client.load_world(town, reset_settings=False)
        self._make_synchronous(world)
        world.reset_all_traffic_lights()
        CarlaDataProvider.set_client(self._client)
        CarlaDataProvider.set_random_seed(seed)
        CarlaDataProvider.set_world(world)
        self._prepare_traffic_manager(seed)
        world.tick()
        CarlaDataProvider.on_carla_tick()
        loaded = CarlaDataProvider.get_map().name.split("/")[-1]
        if loaded != town:
            raise RuntimeError(f"the route needs {town}, but the server has loaded {loaded}")

    @staticmethod
    def _make_synchronous(world: carla.World) -> None:
        """Before a load, so that no free-running frames pass after it; and after, because large-map settings are lost on load."""
        settings = world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = TICK_S
        settings.deterministic_ragdolls = True
        settings.spectator_as_ego = False
        settings.tile_stream_distance = settings.actor_active_distance = LARGE_MAP_DISTANCE_M
        world.apply_settings(settings)

    def _prepare_traffic_manager(self, seed: int) -> None:
        """A Traffic Manager of its own for every route, so that none inherits state of the one before."""
        self._traffic_manager = self._client.get_trafficmanager(self.options.traffic_manager_port)
        CarlaDataProvider.set_traffic_manager_port(self._traffic_manager.get_port())
        self._traffic_manager.set_synchronous_mode(True)
        self._traffic_manager.set_hybrid_physics_mode(True)
        self._traffic_manager.set_random_device_seed(seed)

    def _set_up_agent(self, run: RouteRun) -> None:
        _say("Setting up the agent")
        started = time.monotonic()
        ends_run = self.rules.stop_on_setup_failure
        with self._guarded(Stage.SETUP, FailureReason.AGENT_SETUP_FAILED, ends_run):
            agent = run.agent = self._construct_agent(run)
            assert run.scenario is not None
            agent.plan_sampling_m = self.rules.plan_sampling_m
            agent.route_id = run.config.route_id
            agent.set_global_plan(run.scenario.gps_route, run.scenario.route)
            self._call_setup(agent, run)
            if self._specs is None:
                specs = agent.sensors()
                validate_sensors(specs, agent.track, self.options.track, self.rules, "SAVE_PATH" in os.environ)
                self.checkpoint.set_sensors(sensor_icons(specs))
                self._specs = list(specs)
        run.wrapper = AgentWrapper(agent, self._shape, self.rules)
        run.wall_s["setup"] = time.monotonic() - started

    def _construct_agent(self, run: RouteRun) -> AutonomousAgent:
        options = self.options
        if self._shape is AgentShape.COLLECTION:
            return self._agent_class(options.agent_config, run.config.index)
        if self._shape is AgentShape.FIRST:
            return self._agent_class(self._agent_config(run))
        return self._agent_class(options.host, options.port, bool(options.debug))

    def _agent_config(self, run: RouteRun) -> str:
        """The text that `setup` gets; Bench2Drive adds the name of the route's output folder."""
        config = self.options.agent_config
        return f"{config}+{run.save_name}" if self.rules.benchmark_record_fields else config

    def _call_setup(self, agent: AutonomousAgent, run: RouteRun) -> None:
        config = self._agent_config(run)
        if self._shape is AgentShape.COLLECTION:
            stem, stamp = self.options.routes.stem, run.started.strftime("%m_%d_%H_%M_%S")
            name = f"{stem}_route{run.config.index}_{stamp}"
            agent.setup(config, name, self._traffic_manager)  # type: ignore[call-arg]
        elif self._shape is AgentShape.OFFICIAL:
            agent.setup(config)

    def _drive(self, run: RouteRun) -> None:
        _say("Running the route")
        started = time.monotonic()
        assert run.scenario is not None
        assert run.wrapper is not None
        assert run.agent is not None
        ends_run = self.rules.stop_on_simulation_crash
        if self.options.record:
            self._client.start_recorder(f"{self.options.record}/{run.config.run_id}.log", True)
        with self._guarded(Stage.SIMULATION, FailureReason.SIMULATION_CRASHED, ends_run):
            run.wrapper.mount_sensors(run.scenario.ego, run.agent.sensors())
            run.manager = ScenarioManager(run.scenario, run.wrapper, self.rules, self._watchdog, self.options.timeout)
            live = self._live_writer(run) if self.options.debug > 1 else None
            run.manager.run(self._heartbeat, self._metric_folder(run), live)
        run.wall_s["run"] = time.monotonic() - started

    def _live_writer(self, run: RouteRun) -> Any:
        path = self.options.checkpoint.with_name(f"{self.options.checkpoint.stem}_live.txt")

        def write() -> None:
            if run.scenario is not None and run.manager is not None:
                path.write_text(live_report(run.scenario, run.manager, self.rules), encoding="utf-8")

        return write

    # ---- results ------------------------------------------------------------------------------------------------

    def _save_name(self, config: RouteScenarioConfiguration, started: datetime) -> str:
        scenario, weather_id = self._labels(config)
        return f"{config.run_id}_{config.town}_{scenario}_{weather_id}_{started.strftime('%m_%d_%H_%M_%S')}"

    @staticmethod
    def _labels(config: RouteScenarioConfiguration) -> tuple[str, str | None]:
        scenario = config.scenario_configs[0].name if config.scenario_configs else "None"
        return scenario, find_weather_id(config.weather[0].weather)

    def _metric_folder(self, run: RouteRun) -> Path | None:
        if not self.rules.benchmark_record_fields:
            return None
        root = os.environ.get("SAVE_PATH")
        folder = Path(root) if root else self.options.checkpoint.with_name(f"{self.options.checkpoint.stem}_metric")
        return folder / run.save_name

    def _make_record(self, run: RouteRun) -> RouteRecord:
        """The record of a route from what is known now; called from the watchdog's thread when the main one is stuck."""
        config, scenario = run.config, run.scenario
        name, weather_id = self._labels(config)
        benchmark = BenchmarkFields(name, weather_id, run.save_name, config.town)
        extra: dict[str, Any] = {
            "benchmark": benchmark if self.rules.benchmark_record_fields else None,
            "timestamp": run.started.strftime("%Y-%m-%d %H:%M:%S") if self.rules.timestamp_record_field else None,
        }
        reason = run.failure.reason if run.failure is not None else None
        length = scenario.length_m if scenario is not None else 0.0
        if run.manager is None or scenario is None:
            reason = reason or FailureReason.SIMULATION_CRASHED
            return make_unstarted_record(config.run_id, reason, RouteMeta(length), **extra)
        meta = RouteMeta(length, run.manager.duration_game, run.manager.duration_system)
        return make_record(config.run_id, scenario.events(), reason, self.rules, meta, **extra)

    def _record_data(self, index: int, run: RouteRun) -> dict[str, Any]:
        """The record as JSON-ready data; besides the official fields it names scenarios with which something is wrong."""
        data = self._make_record(run).to_json(index)
        if run.scenario is not None:
            trouble = {
                "scenario_build_failures": run.scenario.build_failures,
                "scenario_failures": run.scenario.scenario_failures,
                "scenario_warnings": run.scenario.unread_parameters,
            }
            data |= {key: [vars(one) for one in found] for key, found in trouble.items() if found}
        return data

    def _register(self, index: int, run: RouteRun) -> dict[str, Any]:
        """Close the books of a route and keep its record. Returns the record as JSON-ready data."""
        _say("Stopping the route" if run.failure is None else "Stopping the route after a failure")
        if run.scenario is not None:
            with self._harmless(run, "stopping the scenario"):
                run.scenario.stop()
        _say("Registering the route statistics")
        data = self._record_data(index, run)
        self.checkpoint.end(run.config.run_id, data, self._notes(run))
        self._write_trace(run)
        if run.scenario is not None and run.manager is not None:
            print(console_report(run.scenario, run.manager, data, self.rules), flush=True)
        return data

    def _write_trace(self, run: RouteRun) -> None:
        if run.scenario is not None and run.manager is not None:
            folder = self.options.checkpoint.with_name(f"{self.options.checkpoint.stem}_trace")
            path = folder / f"{run.config.run_id}.json"
            run.manager.trace.write(path, run.config, run.scenario.route, run.scenario.events())

    def _notes(self, run: RouteRun) -> dict[str, Any]:
        """What the official schema has no place for."""
        notes: dict[str, Any] = {"attempt": run.attempt, "wall_s": {k: round(v, 3) for k, v in run.wall_s.items()}}
        if run.failure is not None:
            notes["reason"] = str(run.failure)
        if run.scenario is not None:
            notes |= {
                "triggered": run.scenario.triggered,
                "not_reached": run.scenario.not_reached,
                "left_surface": run.scenario.left_surface,
            }
        if run.manager is not None:
            notes["ticks"] = run.manager.ticks
            notes["stage_ms"] = run.manager.ledger.summary()
        return notes

    # ---- the end of a route -------------------------------------------------------------------------------------

    def _clean_up(self, run: RouteRun, record: Mapping[str, Any]) -> None:
        """Take everything down; trouble here is told but does not change the result."""
        agent = run.agent
        if self.options.record:
            with self._harmless(run, "stopping the recorder"):
                self._client.stop_recorder()
        if run.wrapper is not None:
            with self._harmless(run, "removing the sensors"):
                run.wrapper.unmount_sensors()
        if agent is not None:
            with self._harmless(run, "destroying the agent"):
                if self._shape is AgentShape.COLLECTION:
                    agent.destroy(SimpleNamespace(**record))  # type: ignore[call-arg]
                else:
                    agent.destroy()
        if run.scenario is not None:
            with self._harmless(run, "releasing the scenarios"):
                run.scenario.release()
        with self._harmless(run, "removing the actors"):
            CarlaDataProvider.cleanup()
        self._stop_traffic_manager()
        self._watchdog.clear()

    def _harmless(self, run: RouteRun, what: str) -> _Harmless:
        return _Harmless(self._watchdog, f"{run.config.run_id}: {what}")

    def _stop_traffic_manager(self) -> None:
        """End the Traffic Manager, so that the server forgets its port.

        It must see a tick without its vehicles first: stopping it makes it step once more, and a vehicle that is gone by then
        ends the process.
        """
        if self._traffic_manager is not None:
            with _Harmless(self._watchdog, "stopping the Traffic Manager"):
                self._client.get_world().tick()
                self._traffic_manager.shut_down()
            self._traffic_manager = None

    def _restore_world(self) -> None:
        """Leave the server as it was found: asynchronous, with a variable step."""
        with _Harmless(self._watchdog, "restoring the world"):
            world = self._client.get_world()
            world.tick()
            settings = world.get_settings()
            settings.synchronous_mode = False
            settings.fixed_delta_seconds = None
            settings.deterministic_ragdolls = False
            settings.spectator_as_ego = True
            world.apply_settings(settings)

    def _on_hang(self, stage: Stage, message: str) -> None:
        """Runs in the watchdog's thread while the main one is stuck: keep the route's result and end the process."""
        _say(f"Watchdog: {message}; ending the process", is_error=True)
        run = self._run
        if run is not None:
            agent_failures = {Stage.AGENT: FailureReason.AGENT_CRASHED, Stage.SETUP: FailureReason.AGENT_SETUP_FAILED}
            reason = agent_failures.get(stage, FailureReason.SIMULATION_CRASHED)
            run.failure = RouteFailed(reason, message, ends_run=True)
            index = self.runs.index(run.config)
            self.checkpoint.end(run.config.run_id, self._record_data(index, run), self._notes(run))
            self._write_trace(run)
            self.checkpoint.write(index + 1, EntryStatus.CRASHED)
        os._exit(EXIT_CRASHED)


class _Guard:
    """Turns what a stage raises into a `RouteFailed`."""

    def __init__(self, watchdog: Watchdog, stage: Stage, reason: FailureReason, ends_run: bool):
        self._watchdog, self._stage = watchdog, stage
        self._reason, self._ends_run = reason, ends_run

    def __enter__(self) -> None:
        self._watchdog.enter(self._stage)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._watchdog.enter(Stage.IDLE)
        if error is None:
            return
        if isinstance(error, KeyboardInterrupt):
            if self._watchdog.failure is None:
                return
            self._watchdog.reacted()
            stage, message = self._watchdog.failure
            reason = FailureReason.AGENT_CRASHED if stage is Stage.AGENT else self._reason
            raise RouteFailed(reason, message, self._ends_run and stage is not Stage.AGENT) from error
        if not isinstance(error, TickLimitReached | SensorConfigurationInvalid):
            traceback.print_exception(error)
        raise self._failure(error) from error

    def _failure(self, error: BaseException) -> RouteFailed:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, SensorConfigurationInvalid):
            return RouteFailed(FailureReason.SENSORS_INVALID, text, ends_run=True)
        if isinstance(error, AgentError) and self._watchdog.server_answers():
            _say("Stopping the route, the agent has crashed:", is_error=True)
            return RouteFailed(FailureReason.AGENT_CRASHED, str(error), ends_run=False)
        if isinstance(error, TickLimitReached):
            return RouteFailed(FailureReason.TICK_LIMIT, str(error), ends_run=False)
        if isinstance(error, SensorReceivedNoData):
            return RouteFailed(FailureReason.SIMULATION_CRASHED, text, self._ends_run)
        return RouteFailed(self._reason, text, self._ends_run)


class _Harmless:
    """A step of cleaning up: told if it fails or takes so long that the watchdog ends it, never fatal."""

    def __init__(self, watchdog: Watchdog, what: str):
        self._watchdog, self._what = watchdog, what

    def __enter__(self) -> None:
        self._watchdog.enter(Stage.SIMULATION)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        self._watchdog.enter(Stage.IDLE)
        if isinstance(error, KeyboardInterrupt) and self._watchdog.has_interrupted:
            self._watchdog.reacted()
            LOG.warning("%s took too long and was given up", self._what)
            return True
        if isinstance(error, Exception | SystemExit):
            LOG.warning("%s failed: %s: %s", self._what, type(error).__name__, error)
            return True
        return False


def _say(text: str, is_error: bool = False) -> None:
    """One line for people and log searches; errors in red on a terminal."""
    colour = is_error and sys.stdout.isatty()
    print(f"\x1b[91m{text}\x1b[0m" if colour else text, flush=True)


def _commit() -> str | None:
    """Hash of the checked-out commit, None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command-line entry; returns the exit status: 0 run over, 2 wrong input, 74 results cannot be written (disk full),
    130 interrupted, 255 simulation crash."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    options = parse_options(arguments)
    try:
        evaluator = LeaderboardEvaluator(options)
    except (OSError, ValueError, RuntimeError, AgentLoadError, CheckpointError) as error:
        if isinstance(error, AgentLoadError) and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    before = signal.signal(signal.SIGINT, evaluator.interrupt)
    try:
        return evaluator.run()
    except KeyboardInterrupt:
        print("interrupted; continue with --resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        print(f"error: {error}; what was written before is kept, mend this and continue with --resume", file=sys.stderr)
        return EXIT_UNWRITABLE
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
