"""The expert as an agent of the evaluator.

``--agent-config`` is empty, a profile name (`corrected` or `simlingo`), or the path of a route file as in the published
collection; a path selects the default profile.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import carla
import numpy as np

from leaderboard.autoagents.agent_text import split_save_name
from leaderboard.autoagents.autonomous_agent_local import AutonomousAgent, Track
from leaderboard.envs.sensor_interface import SensorData
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code.expert.config import ExpertConfig, expert_config
from team_code.expert.driver import Decision, Expert
from team_code.expert.scene import Scene, SceneReader

LOG = logging.getLogger(__name__)

MIN_BOX_EXTENT = 0.001


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "AutoPilot"


def profile_of(agent_config: str) -> str:
    """The expert profile an agent configuration asks for.

    Raises:
        ValueError: If it is neither a profile nor a path.
    """
    text = split_save_name(agent_config)[0].strip()
    if not text or text.endswith(".xml") or Path(text).exists():
        return os.environ.get("EXPERT_PROFILE", "corrected")
    return expert_config(text).profile


class AutoPilot(AutonomousAgent):
    """Drives with full knowledge of the world; reads the simulator directly.

    Attributes:
        config: Constants of the expert.
        expert: The driver, None before the first step.
        step: Number of the coming step.
        seed: Of the steering noise and the augmented camera.
    """

    config: ExpertConfig
    expert: Expert | None

    def setup(self, path_to_conf_file: str, route_index: str | None = None, traffic_manager: Any = None) -> None:
        """See the base class.

        Raises:
            ValueError: If the configuration names an unknown profile.
        """
        self.track = Track.MAP
        self.config = expert_config(profile_of(path_to_conf_file or ""))
        self.expert = None
        self.step = -1
        self.seed = int(os.environ.get("EXPERT_SEED", "0"))
        self._reader: SceneReader | None = None

    def sensors(self) -> list[dict[str, Any]]:
        """The map, an inertial unit for the compass, and the speedometer."""
        pose = {"x": 0.0, "y": 0.0, "z": 0.0, "roll": 0.0, "pitch": 0.0, "yaw": 0.0}
        return [
            {"type": "sensor.opendrive_map", "id": "hd_map", "reading_frequency": 1e-6},
            {"type": "sensor.other.imu", "id": "imu", "sensor_tick": 0.05, **pose},
            {"type": "sensor.speedometer", "id": "speed", "reading_frequency": 20},
        ]

    def run_step(
        self, input_data: SensorData, timestamp: float, sensors: list[list[Any]] | None = None
    ) -> carla.VehicleControl:
        """Decide on the next control."""
        self.step += 1
        scene = self._read_scene(input_data)
        if self.expert is None:
            self.expert = self._start(scene)
        decision = self.expert.step(scene, CarlaDataProvider.get_scenario_infos())
        self.on_decision(input_data, scene, decision)
        return decision.applied

    def on_decision(self, input_data: SensorData, scene: Scene, decision: Decision) -> None:
        """Called after every decision; a recorder overrides it."""

    def _read_scene(self, input_data: SensorData) -> Scene:
        if self._reader is None:
            ego = CarlaDataProvider.get_hero_actor()
            if ego is None:
                raise RuntimeError(
                    "the expert found no vehicle with the role 'hero'; spawn the ego before the agent runs"
                )
            remove_degenerate_vehicles(CarlaDataProvider.get_world())
            self._reader = SceneReader(CarlaDataProvider.get_world(), ego)
        return self._reader.read(compass_heading(input_data["imu"][1][-1]), CarlaDataProvider.get_all_actors())

    def _start(self, scene: Scene) -> Expert:
        assert self._reader is not None
        return Expert(
            CarlaDataProvider.get_world(),
            self.org_dense_route_world_coord,
            scene,
            self._reader.lights,
            self.config,
            np.random.default_rng(self.seed),
        )

    def destroy(self, results: Any = None) -> None:
        """Forget the route."""
        self.expert = None
        self._reader = None


def compass_heading(compass: float) -> float:
    """World yaw, radians in (-pi, pi], of an IMU compass reading; a missing reading counts as north."""
    reading = 0.0 if np.isnan(compass) else float(compass)
    return float(np.pi - (np.pi - (reading - np.pi / 2)) % (2 * np.pi))


def remove_degenerate_vehicles(world: carla.World) -> None:
    """Destroy vehicles with an empty bounding box, which CARLA sometimes reports (carla-simulator/carla issue 3670)."""
    for vehicle in world.get_actors().filter("vehicle.*"):
        extent = vehicle.bounding_box.extent
        if min(extent.x, extent.y, extent.z) < MIN_BOX_EXTENT:
            LOG.warning("removing %s (id %d): its bounding box is empty", vehicle.type_id, vehicle.id)
            vehicle.destroy()
