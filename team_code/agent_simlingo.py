"""The SimLingo driver in closed loop: camera, GNSS, IMU and speedometer in, commentary and control out.

Loaded by the leaderboard evaluator::

    python -m leaderboard.leaderboard_evaluator --agent team_code/agent_simlingo.py \\
        --agent-config outputs/simlingo_tiny/checkpoints/last --routes data/routes/demo_eval.xml --rules bench2drive

``--agent-config`` is a checkpoint folder, or a YAML file with the fields of `AgentConfig`. Bench2Drive appends
``+<save name>``; with the environment variable SAVE_PATH set, camera images and a log of every tick go to
``$SAVE_PATH/<save name>/``, under benchmarks without save names to ``$SAVE_PATH/RouteScenario_<id>_rep<k>/``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import carla
import numpy as np
import torch
from numpy.typing import NDArray

from driving.camera import (
    DRIVING_CAMERA,
    above_bonnet,
    cut_bonnet,
    decode_jpeg,
    encode_jpeg,
    rgb,
    without_alpha,
)
from driving.commands import RoadOption
from driving.control.waypoints import SpeedConfig, WaypointController
from driving.geometry import to_ego
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData
from leaderboard.utils.route_manipulation import downsample_route
from simlingo_training.data import prompts
from simlingo_training.inference import Observation, Policy, Prediction
from team_code.agent_config import PROFILES, AgentConfig
from team_code.drive_log import TICKS_PER_SECOND, DriveFrame, DriveLog
from team_code.latency import ReactionDelay
from team_code.localisation import GeoReference, PositionFilter, estimate_reference, heading_from_compass
from team_code.policy_client import RemotePolicy
from team_code.prompting import Instruction, Navigation
from team_code.route_planner import PlanPoint, RoutePlanner

STANDING_MPS = 0.1
"""Speed below which the car counts as standing, m/s."""


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "SimLingoAgent"


class DrivingPolicy(Protocol):
    """What the agent needs of a model; `Policy`, `RemotePolicy` and SimLingo-Base's policy offer it."""

    @property
    def sees_bonnet(self) -> bool:
        """Whether the model looks at the part of the image that shows the bonnet."""

    def reset(self) -> None:
        """Forget the route before."""

    def act(self, observation: Observation) -> Prediction:
        """Predict for one tick."""


@dataclass
class TickInput:
    """What the sensors say in one tick, in the agent's units.

    Attributes:
        image_bgr: (512, 1024, 3) camera image.
        speed: m/s.
        heading: Radians in the world, clockwise seen from above.
        position: (2,) in the plan's frame, metres.
        targets: The next two plan points.
        target_points: (2, 2) the same in the ego frame, metres.
        jpeg: The whole camera image as the model gets it, once it was asked; empty where only a part is needed.
    """

    image_bgr: NDArray[np.uint8]
    speed: float
    heading: float
    position: NDArray[np.float64]
    targets: tuple[PlanPoint, PlanPoint]
    target_points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2)))
    jpeg: bytes = b""


@dataclass(frozen=True)
class Thought:
    """One answer of the model and what it was asked."""

    prompt: str
    prediction: Prediction
    control: carla.VehicleControl
    delay_s: float


@lru_cache(maxsize=1)
def load_policy_once(checkpoint: str, device: str, dropout: bool, text_every: int) -> Policy:
    """Load a checkpoint, or return it if the last route of this process used it too."""
    return Policy.load(checkpoint, device=device, dropout=dropout, text_every=text_every)


class SimLingoAgent(AutonomousAgent):
    """Drives with a SimLingo checkpoint. The first tick only initialises and brakes.

    Attributes:
        instruction: What it is told to do instead of being asked for a commentary; may change between ticks.
        stage_ms: Wall time of each stage of the last tick, milliseconds.
    """

    config_class: type[AgentConfig] = AgentConfig

    def setup(self, path_to_conf_file: str) -> None:
        """See `AutonomousAgent.setup`."""
        self.track = Track.SENSORS
        config, self.save_name = self.config_class.parse(path_to_conf_file)
        self.config = config
        self.profile = PROFILES[config.profile]
        self.seed = torch.initial_seed()  # the evaluator's, set at the begin of every route
        self.policy = self._load_policy()
        self.policy.reset()
        self.controller = WaypointController(SpeedConfig(departure_speed=self.profile.departure_speed))
        self.filter = PositionFilter()
        self.navigation = Navigation(config.route_as)
        self.instruction: Instruction | None = None
        if config.instruction:
            self.instruction = Instruction(config.instruction, config.safety, config.navigation)
        self.planner: RoutePlanner | None = None
        self.reference: GeoReference | None = None
        self.log = self._open_log()
        self.delay: ReactionDelay[carla.VehicleControl] = ReactionDelay.parse(config.latency)
        self.last_control = carla.VehicleControl(steer=0.0, throttle=0.0, brake=1.0)
        self.step = -1
        self.last_image = 0
        self.stuck_ticks = self.creep_left = 0
        self.stuck_limit = self.profile.stuck_ticks
        if config.stuck_s is not None:
            self.stuck_limit = round(config.stuck_s * TICKS_PER_SECOND)
        self.stage_ms: dict[str, float] = {}

    def _load_policy(self) -> DrivingPolicy:
        """The model in this process, or the policy server that holds it."""
        config = self.config
        if config.policy_server:
            return RemotePolicy(config.policy_server)
        return load_policy_once(config.checkpoint, config.device, config.keeps_dropout, config.text_ticks)

    def _open_log(self) -> DriveLog | None:
        """The log of this route in a folder of its own, or None if nothing is to be kept."""
        root = os.environ.get("SAVE_PATH")
        if not root:
            return None
        names = (f"RouteScenario_{self.route_id or 'unknown'}_rep{number}" for number in count())
        free = (name for name in names if not (Path(root) / name).exists())
        return DriveLog(Path(root) / (self.save_name or next(free)))

    def sensors(self) -> list[dict[str, Any]]:
        """See `AutonomousAgent.sensors`."""
        camera = DRIVING_CAMERA
        x, y, z = camera.position
        upright = {"roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        origin = {"x": 0.0, "y": 0.0, "z": 0.0, **upright}
        picture = {"width": camera.width, "height": camera.height, "fov": camera.fov_deg}
        return [
            {"type": "sensor.camera.rgb", "id": "rgb_0", "x": x, "y": y, "z": z, **upright, **picture},
            {"type": "sensor.other.imu", "id": "imu", "sensor_tick": 0.05, **origin},
            {"type": "sensor.other.gnss", "id": "gps", "sensor_tick": 0.01, **origin},
            {"type": "sensor.speedometer", "id": "speed", "reading_frequency": TICKS_PER_SECOND},
        ]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        """See `AutonomousAgent.run_step`."""
        self.step += 1
        self.stage_ms = {}
        if self.planner is None:
            self._start_route()
        with self._stage("localise"):
            tick = self._read_sensors(input_data)
        if self.step == 0:
            return self.last_control
        thought = None if self.delay.is_thinking(timestamp) else self._think(tick, timestamp)
        with self._stage("control"):
            control = self._act(timestamp, tick.speed)
        if thought is not None:
            with self._stage("disk"):
                self._write(tick, thought, control)
        return control

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to a stage of this tick."""
        started = time.perf_counter()
        yield
        self.stage_ms[name] = self.stage_ms.get(name, 0.0) + (time.perf_counter() - started) * 1e3

    def _start_route(self) -> None:
        """Learn where the map lies and take over the plan.

        Both are converted from GPS with the same reference, because the sensor speaks GPS and errors then cancel.
        """
        gps, transform = self._global_plan[0][0], self._global_plan_world_coord[0][0]
        self.reference = estimate_reference(gps["lat"], gps["lon"], transform.location.x, transform.location.y)
        plan = self._global_plan
        if self.config.plan_spacing_m is not None:
            kept = downsample_route(self.org_dense_route_world_coord, self.config.plan_spacing_m)
            plan = [self.org_dense_route_gps[index] for index in kept]
        self.planner = RoutePlanner(
            [
                PlanPoint(self.reference.to_metres(point["lat"], point["lon"]), RoadOption(command))
                for point, command in plan
            ]
        )

    def _read_sensors(self, input_data: SensorData) -> TickInput:
        assert self.reference is not None
        assert self.planner is not None
        gnss, compass = input_data["gps"][1], float(input_data["imu"][1][-1])
        measured_speed = float(input_data["speed"][1]["speed"])
        speed = round(measured_speed, 1) if self.profile.round_speed else max(measured_speed, 0.0)
        heading = heading_from_compass(compass)
        told = self.last_control
        if self.step <= self.profile.filter_brake_ticks:
            told = carla.VehicleControl(brake=1.0)
        position = self.filter.step(
            self.reference.to_metres(gnss[0], gnss[1]), heading, speed, told.steer, told.throttle, told.brake
        )
        targets = self.planner.targets(position)
        points = to_ego(np.stack([point.position for point in targets]), position, heading)
        return TickInput(without_alpha(input_data["rgb_0"][1]), speed, heading, position, targets, points)

    def _prompt(self, tick: TickInput) -> str:
        distance = float(np.linalg.norm(tick.target_points[0]))
        navigation = self.navigation.sentence(*tick.targets, distance)
        if self.instruction is not None:
            return self.instruction.prompt(tick.speed, navigation)
        ask = prompts.commentary_prompt if self.config.commentary else prompts.driving_prompt
        return ask(tick.speed, navigation)

    def _think(self, tick: TickInput, now: float) -> Thought:
        """Ask the model and turn its answer into a control that acts once the reaction delay is over."""
        prompt = self._prompt(tick)
        started = time.perf_counter()
        with self._stage("preprocess"):
            observation = self._observe(tick, prompt)
        prediction = self.policy.act(observation)
        for name, milliseconds in prediction.stage_ms.items():
            self.stage_ms[name] = self.stage_ms.get(name, 0.0) + milliseconds
        with self._stage("control"):
            steer, throttle, brake = self.controller.step(prediction.path, prediction.speed_waypoints, tick.speed)
            control = carla.VehicleControl(steer=steer, throttle=throttle, brake=brake)
        delay = self.delay.decide(now, control, time.perf_counter() - started)
        return Thought(prompt, prediction, control, delay)

    def _observe(self, tick: TickInput, prompt: str) -> Observation:
        seed = self._draw_seed() if self.config.keeps_dropout else None
        if self.policy.sees_bonnet or self._wants_whole_image():
            tick.jpeg = encode_jpeg(tick.image_bgr)
            return Observation(rgb(decode_jpeg(tick.jpeg)), tick.speed, tick.target_points, prompt, seed=seed)
        seen = decode_jpeg(encode_jpeg(above_bonnet(tick.image_bgr)))[: len(cut_bonnet(tick.image_bgr))]
        return Observation(rgb(seen), tick.speed, tick.target_points, prompt, is_cut=True, seed=seed)

    def _draw_seed(self) -> int:
        """Seed of what the model's dropout draws in this tick: from the run's and the tick's number, so that neither the routes
        that this process drove before nor the other cars of a policy server change the drive."""
        return int(np.random.SeedSequence((self.seed, self.step)).generate_state(1)[0])

    def _wants_whole_image(self) -> bool:
        """Whether somebody beside the model looks at the image of this tick."""
        return self._is_image_due()

    def _is_image_due(self) -> bool:
        """Whether the log keeps the image of this tick."""
        kept = self.config.images_per_second
        every = max(1, TICKS_PER_SECOND // max(1, kept))
        return self.log is not None and kept > 0 and self.step - self.last_image >= every

    def _act(self, now: float, speed: float) -> carla.VehicleControl:
        """The control of this tick: what was decided long enough ago, or creeping after standing for long."""
        decided = self.delay.acting(now)
        if decided is None:
            return self.last_control
        throttle, brake = decided.throttle, decided.brake
        self.stuck_ticks = self.stuck_ticks + 1 if speed < STANDING_MPS else 0
        if self.stuck_ticks > self.stuck_limit:
            self.creep_left = self.profile.creep_ticks
        if self.creep_left > 0:
            self.creep_left -= 1
            throttle, brake = max(self.profile.creep_throttle, throttle), 0.0
        self.last_control = carla.VehicleControl(steer=decided.steer, throttle=throttle, brake=brake)
        return self.last_control

    def _write(self, tick: TickInput, thought: Thought, control: carla.VehicleControl) -> None:
        if self.log is None:
            return
        is_due = self._is_image_due()
        if is_due:
            self.last_image = self.step - self.step % max(1, TICKS_PER_SECOND // self.config.images_per_second)
        self.log.append(self._frame(tick, thought, control), tick.jpeg if is_due else None)

    def _frame(self, tick: TickInput, thought: Thought, control: carla.VehicleControl) -> DriveFrame:
        """The log entry of this tick."""
        prediction = thought.prediction
        return DriveFrame(
            step=self.step,
            position=(round(float(tick.position[0]), 3), round(float(tick.position[1]), 3)),
            heading=round(tick.heading, 5),
            speed=round(tick.speed, 3),
            target_points=np.round(tick.target_points, 3).tolist(),
            prompt=thought.prompt,
            text=prediction.text,
            path=np.round(np.asarray(prediction.path, dtype=np.float64), 3).tolist(),
            waypoints=np.round(np.asarray(prediction.speed_waypoints, dtype=np.float64), 3).tolist(),
            steer=round(control.steer, 3),
            throttle=round(control.throttle, 3),
            brake=round(control.brake, 3),
            stage_ms={name: round(value, 2) for name, value in self.stage_ms.items()},
            instruction=self.instruction.text if self.instruction else "",
            delay_s=round(thought.delay_s, 4),
        )

    def destroy(self) -> None:
        """See `AutonomousAgent.destroy`."""
        # An agent whose setup failed has neither.
        log, policy = getattr(self, "log", None), getattr(self, "policy", None)
        if log is not None:
            log.close()
        if isinstance(policy, RemotePolicy):
            policy.close()
