"""Drives one route: ticks the world, asks the agent, judges the result."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path

import carla

from leaderboard.autoagents.agent_wrapper import AgentWrapper
from leaderboard.envs.sensor_interface import SensorReceivedNoData
from leaderboard.rules import Rules
from leaderboard.scenarios.recorders import MetricRecorder, TraceRecorder
from leaderboard.scenarios.route_scenario import RouteScenario
from leaderboard.scenarios.tick_vigil import TickVigil
from leaderboard.scenarios.watchdog import Stage, Watchdog
from leaderboard.utils.checkpoint_tools import Heartbeat
from leaderboard.utils.stage_ledger import SCENARIO, SIMULATOR, StageLedger
from srunner.scenariomanager import blackboard
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.timer import GameTime

SPECTATOR_HEIGHT_M = 70.0
SPECTATOR_PERIOD_TICKS = 10


class AgentError(Exception):
    """The agent raised an exception; its cause is attached."""


class TickLimitReached(Exception):
    """The route took more ticks than its rules allow."""


def check_control(control: object) -> None:
    """Look at what an agent wants the ego to do.

    Raises:
        TypeError: If it is no `carla.VehicleControl`.
        ValueError: If steer, throttle or brake is not finite.
    """
    if not isinstance(control, carla.VehicleControl):
        raise TypeError(f"run_step must return a carla.VehicleControl, got {type(control).__name__}")
    pedals = (control.steer, control.throttle, control.brake)
    if not all(map(math.isfinite, pedals)):
        raise ValueError("run_step returned steer {}, throttle {}, brake {}; all must be finite".format(*pedals))


class ScenarioManager:
    """The tick loop of one route.

    Order inside a tick (carla-simulator/leaderboard, scenarios/scenario_manager.py): world, game clock, data provider, agent,
    control, behaviour tree. So the control made from frame n acts on frame n + 1, and criteria see frame n after the agent.

    Attributes:
        ticks: Ticks driven.
        duration_game: Seconds of game time.
        trace: The driven path.
        ledger: Wall time of the stages of a tick.
    """

    def __init__(
        self, scenario: RouteScenario, agent: AgentWrapper, rules: Rules, watchdog: Watchdog, timeout_s: float
    ):
        self.scenario = scenario
        self.ticks = 0
        self.trace = TraceRecorder()
        self.ledger = StageLedger()
        self._agent = agent
        self._rules = rules
        self._watchdog = watchdog
        self._timeout_s = timeout_s
        self._started_at = time.monotonic()
        self._metric: MetricRecorder | None = None
        self._vigil = TickVigil(CarlaDataProvider.get_client())
        self._spectator = CarlaDataProvider.get_world().get_spectator()

    @property
    def duration_game(self) -> float:
        """Seconds of game time since the route started."""
        return GameTime.get_time()

    @property
    def duration_system(self) -> float:
        """Seconds of wall clock since the route started."""
        return time.monotonic() - self._started_at

    def run(self, heartbeat: Heartbeat, metric_folder: Path | None, on_tick: Callable[[], None] | None = None) -> None:
        """Tick until the route ends.

        Args:
            heartbeat: Told about progress.
            metric_folder: Where to record the ego's motion, None for nowhere.
            on_tick: Called after every tick, e.g. for live results.

        Raises:
            AgentError: If the agent raised.
            SensorReceivedNoData: If the simulator did not deliver.
            TickLimitReached: If the rules' tick limit was reached.
            RuntimeError: From the client, if the simulator is gone.
            KeyboardInterrupt: On Ctrl-C or from the watchdog; ask it which.
        """
        GameTime.restart()
        self._started_at = time.monotonic()
        if metric_folder is not None:
            self._metric = MetricRecorder(metric_folder)
        # What is there now lives as long as the route: looking through it for garbage again and again would be in vain.
        gc.freeze()
        try:
            is_running = True
            while is_running:
                is_running = self._tick()
                ratio = self.duration_game / max(self.duration_system, 1e-6)
                heartbeat.beat(self.scenario.config.run_id, self.ticks, self.duration_game, ratio, force=not is_running)
                if on_tick is not None:
                    on_tick()
        finally:
            gc.unfreeze()
            self._vigil.stop()
            self._watchdog.enter(Stage.IDLE)
            if self._metric is not None:
                self._metric.close()

    def _tick(self) -> bool:
        """One tick; returns whether the route goes on."""
        world = CarlaDataProvider.get_world()
        self._watchdog.enter(Stage.SIMULATION)
        with self.ledger.stage(SIMULATOR), self._vigil:
            world.tick(self._timeout_s)
        GameTime.on_carla_tick(world.get_snapshot().timestamp)
        CarlaDataProvider.on_carla_tick()
        self.ticks += 1
        if self._rules.tick_limit is not None and self.ticks > self._rules.tick_limit:
            raise TickLimitReached(f"more than {self._rules.tick_limit} ticks")
        control = self._ask_agent()
        self._watchdog.enter(Stage.SIMULATION)
        ego = self.scenario.ego
        ego.apply_control(control)
        blackboard.set(blackboard.CONTROL, control)
        with self.ledger.stage(SCENARIO):
            is_running = self.scenario.tick()
        self.trace.record(self.ticks, self.duration_game, ego, control)
        if self._metric is not None:
            self._metric.record(ego)
        if self.ticks % SPECTATOR_PERIOD_TICKS == 1:
            self._follow_with_spectator()
        return is_running

    def _ask_agent(self) -> carla.VehicleControl:
        self._watchdog.enter(Stage.AGENT)
        started = time.perf_counter()
        try:
            control = self._agent()
            check_control(control)
        except SensorReceivedNoData:
            raise
        except (Exception, SystemExit) as error:  # agents that call sys.exit() end themselves, not the evaluation
            raise AgentError(f"{type(error).__name__}: {error}") from error
        self.ledger.add_agent((time.perf_counter() - started) * 1e3, self._agent.waited_ms, self._agent.stage_ms)
        return control

    def _follow_with_spectator(self) -> None:
        transform = CarlaDataProvider.get_transform(self.scenario.ego)
        above = transform.location + carla.Location(z=SPECTATOR_HEIGHT_M)
        self._spectator.set_transform(carla.Transform(above, carla.Rotation(pitch=-90)))
