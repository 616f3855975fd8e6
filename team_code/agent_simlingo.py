"""The SimLingo driver in closed loop: camera, GNSS, IMU and speedometer in, commentary and control out.

Loaded by the leaderboard evaluator::

    python -m leaderboard.leaderboard_evaluator --agent team_code/agent_simlingo.py \\
        --agent-config outputs/simlingo_tiny/checkpoints/last --routes data/routes/demo_eval.xml --rules bench2drive

``--agent-config`` is a checkpoint folder, or a YAML file with the fields of `AgentConfig`. Bench2Drive appends
``+<save name>``; with the environment variable SAVE_PATH set, camera images and a log of every tick go to
``$SAVE_PATH/<save name>/``.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import carla
import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from driving.camera import DRIVING_CAMERA, decode_jpeg, encode_jpeg
from driving.commands import RoadOption
from driving.control.waypoints import WaypointController
from driving.geometry import to_ego
from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData
from simlingo_training.data import prompts
from simlingo_training.inference import Observation, Policy, Prediction
from team_code.drive_log import DriveFrame, DriveLog
from team_code.localisation import GeoReference, PositionFilter, estimate_reference, heading_from_compass
from team_code.policy_server import RemotePolicy
from team_code.route_planner import PlanPoint, RoutePlanner

TICKS_PER_SECOND = 20


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "SimLingoAgent"


@dataclass(frozen=True)
class DriverProfile:
    """Numbers of the driver that are not the model's.

    Attributes:
        round_speed: Use the speed rounded to one decimal for control too, and let it be negative.
        dropout: Leave the model's dropout on while driving.
        filter_brake_ticks: Ticks at the start during which the position filter is told that the car brakes.
        stuck_ticks: Ticks below 0.1 m/s after which the car creeps.
        creep_ticks: How long it creeps.
        creep_throttle: Least throttle while creeping.
    """

    round_speed: bool
    dropout: bool
    filter_brake_ticks: int
    stuck_ticks: int = 800
    creep_ticks: int = 15
    creep_throttle: float = 0.4


PROFILES = {
    "default": DriverProfile(round_speed=False, dropout=False, filter_brake_ticks=0),
    "published": DriverProfile(round_speed=True, dropout=True, filter_brake_ticks=40),
}


@dataclass
class AgentConfig:
    """How the agent drives.

    Attributes:
        checkpoint: Checkpoint folder.
        profile: `default`, or `published` for every number of the published agent.
        commentary: Ask for a commentary before the waypoints.
        route_as: `target_point` or `command`.
        instruction: Text that replaces the question of the prompt, or None.
        safety: With an instruction: True lets the model refuse, False asks it to obey, None sets no flag.
        navigation: With an instruction: whether the navigation sentence stays in the prompt.
        text_every: Generate text on every n-th tick; the last text stands in between.
        device: `auto`, `cpu` or `cuda`.
        images_per_second: Camera images kept in the log.
        policy_server: ``host:port`` of a policy server that holds the model instead of this process, or empty.
    """

    checkpoint: str = ""
    profile: str = "default"
    commentary: bool = True
    route_as: str = "target_point"
    instruction: str | None = None
    safety: bool | None = None
    navigation: bool = True
    text_every: int = 1
    device: str = "auto"
    images_per_second: int = 4
    policy_server: str = ""

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"profile is one of {sorted(PROFILES)}; got {self.profile!r}")
        if self.route_as not in ("target_point", "command"):
            raise ValueError(f"route_as is target_point or command; got {self.route_as!r}")
        if self.text_every < 1:
            raise ValueError(f"text_every counts ticks, so it is at least 1; got {self.text_every}")

    @classmethod
    def parse(cls, text: str) -> tuple[AgentConfig, str]:
        """Read ``--agent-config``.

        Args:
            text: Checkpoint folder or YAML file, optionally followed by ``+<save name>``.

        Returns:
            The configuration and the save name, which may be empty.

        Raises:
            FileNotFoundError: If the file or folder does not exist.
        """
        source, _, save_name = text.partition("+")
        if not Path(source).exists():
            raise FileNotFoundError(
                f"--agent-config names a checkpoint folder or a YAML file; {source!r} does not exist"
            )
        if source.endswith((".yaml", ".yml")):
            merged = OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.load(source))
            config = OmegaConf.to_object(merged)
            assert isinstance(config, cls)
            return config, save_name
        return cls(checkpoint=source), save_name


@dataclass
class Navigation:
    """Turns the commands of the plan into the sentence of the prompt; remembers the command before the current one."""

    route_as: str
    current: RoadOption = RoadOption.VOID
    previous: RoadOption = RoadOption.VOID

    def sentence(self, target: PlanPoint, following: PlanPoint, distance: float) -> str:
        """The navigation sentence for the two next plan points, the first ``distance`` metres away."""
        if target.command != self.current:
            self.previous, self.current = self.current, target.command
        if self.route_as == "target_point":
            return prompts.points_sentence()
        turning = self.previous in (RoadOption.LEFT, RoadOption.RIGHT, RoadOption.STRAIGHT)
        if turning and target.command == RoadOption.LANEFOLLOW:
            turn, follow = prompts.command_phrase(self.previous), prompts.command_phrase(target.command)
            return f"Command: {turn} then {follow}."
        return prompts.command_sentence(target.command, following.command, distance)


@dataclass
class TickInput:
    """What the sensors say in one tick, in the agent's units."""

    jpeg: bytes
    speed: float
    heading: float
    position: NDArray[np.float64]
    targets: tuple[PlanPoint, PlanPoint]
    target_points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2)))


@lru_cache(maxsize=1)
def load_policy_once(checkpoint: str, device: str, dropout: bool, text_every: int) -> Policy:
    """Load a checkpoint, or return it if the last route of this process used it too."""
    return Policy.load(checkpoint, device=device, dropout=dropout, text_every=text_every)


class SimLingoAgent(AutonomousAgent):
    """Drives with a SimLingo checkpoint. The first tick only initialises and brakes."""

    def setup(self, path_to_conf_file: str) -> None:
        """See `AutonomousAgent.setup`."""
        self.track = Track.SENSORS
        self.config, save_name = AgentConfig.parse(path_to_conf_file)
        self.profile = PROFILES[self.config.profile]
        self.policy = self._load_policy()
        self.controller = WaypointController()
        self.filter = PositionFilter()
        self.navigation = Navigation(self.config.route_as)
        self.planner: RoutePlanner | None = None
        self.reference: GeoReference | None = None
        self.log = self._open_log(save_name)
        self.last_control = carla.VehicleControl(steer=0.0, throttle=0.0, brake=1.0)
        self.step = -1
        self.stuck_ticks = self.creep_left = 0

    def _load_policy(self) -> Policy | RemotePolicy:
        """The model in this process, or the policy server that holds it."""
        config = self.config
        policy: Policy | RemotePolicy
        if config.policy_server:
            policy = RemotePolicy(config.policy_server)
        else:
            policy = load_policy_once(config.checkpoint, config.device, self.profile.dropout, config.text_every)
        policy.reset()
        return policy

    @staticmethod
    def _open_log(save_name: str) -> DriveLog | None:
        root = os.environ.get("SAVE_PATH")
        return DriveLog(Path(root) / (save_name or "route")) if root else None

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
        if self.planner is None:
            self._start_route()
        started = time.perf_counter()
        tick = self._read_sensors(input_data)
        if self.step == 0:
            return self.last_control
        sensed = time.perf_counter()
        prompt = self._prompt(tick)
        prediction = self._predict(tick, prompt)
        thought = time.perf_counter()
        control = self._control(prediction, tick.speed)
        ended = time.perf_counter()
        stages = {
            "localise": (sensed - started) * 1e3,
            **prediction.stage_ms,
            "policy": (thought - sensed) * 1e3,
            "control": (ended - thought) * 1e3,
        }
        self._write(tick, prompt, prediction, control, stages)
        return control

    def _start_route(self) -> None:
        """Learn where the map lies and take over the plan.

        Both are converted from GPS with the same reference, because the sensor speaks GPS and errors then cancel.
        """
        gps, transform = self._global_plan[0][0], self._global_plan_world_coord[0][0]
        self.reference = estimate_reference(gps["lat"], gps["lon"], transform.location.x, transform.location.y)
        plan = [
            PlanPoint(self.reference.to_metres(point["lat"], point["lon"]), RoadOption(command))
            for point, command in self._global_plan
        ]
        self.planner = RoutePlanner(plan)

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
        jpeg = encode_jpeg(np.ascontiguousarray(input_data["rgb_0"][1][:, :, :3]))
        return TickInput(jpeg, speed, heading, position, targets, points)

    def _prompt(self, tick: TickInput) -> str:
        distance = float(np.linalg.norm(tick.target_points[0]))
        navigation = self.navigation.sentence(*tick.targets, distance)
        config = self.config
        if config.instruction:
            kept = navigation if config.navigation else None
            return prompts.instruction_prompt(tick.speed, kept, config.instruction, config.safety)
        ask = prompts.commentary_prompt if config.commentary else prompts.driving_prompt
        return ask(tick.speed, navigation)

    def _predict(self, tick: TickInput, prompt: str) -> Prediction:
        image = np.ascontiguousarray(decode_jpeg(tick.jpeg)[:, :, ::-1])
        return self.policy.act(Observation(image, tick.speed, tick.target_points, prompt))

    def _control(self, prediction: Prediction, speed: float) -> carla.VehicleControl:
        steer, throttle, brake = self.controller.step(prediction.path, prediction.speed_waypoints, speed)
        self.stuck_ticks = self.stuck_ticks + 1 if speed < 0.1 else 0
        if self.stuck_ticks > self.profile.stuck_ticks:
            self.creep_left = self.profile.creep_ticks
        if self.creep_left > 0:
            self.creep_left -= 1
            throttle, brake = max(self.profile.creep_throttle, throttle), 0.0
        self.last_control = carla.VehicleControl(steer=steer, throttle=throttle, brake=brake)
        return self.last_control

    def _write(
        self,
        tick: TickInput,
        prompt: str,
        prediction: Prediction,
        control: carla.VehicleControl,
        stages: dict[str, float],
    ) -> None:
        if self.log is None:
            return
        every = max(1, TICKS_PER_SECOND // max(1, self.config.images_per_second))
        frame = DriveFrame(
            step=self.step,
            position=(round(float(tick.position[0]), 3), round(float(tick.position[1]), 3)),
            heading=round(tick.heading, 5),
            speed=round(tick.speed, 3),
            target_points=np.round(tick.target_points, 3).tolist(),
            prompt=prompt,
            text=prediction.text,
            path=np.round(np.asarray(prediction.path, dtype=np.float64), 3).tolist(),
            waypoints=np.round(np.asarray(prediction.speed_waypoints, dtype=np.float64), 3).tolist(),
            steer=round(control.steer, 3),
            throttle=round(control.throttle, 3),
            brake=round(control.brake, 3),
            stage_ms={name: round(value, 2) for name, value in stages.items()},
        )
        self.log.append(frame, tick.jpeg if self.step % every == 0 else None)

    def destroy(self) -> None:
        """See `AutonomousAgent.destroy`."""
        log = getattr(self, "log", None)  # an agent whose setup failed has none
        if log is not None:
            log.close()
