"""What an agent must offer, under the names that agents of the CARLA Leaderboard and Bench2Drive import."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

import carla

from leaderboard.envs.sensor_interface import SensorData, SensorInterface
from leaderboard.utils.route_manipulation import GpsPlan, downsample_route
from srunner.scenarioconfigs.scenario_configuration import RoutePlan
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.timer import GameTime


class Track(Enum):
    """What an agent may carry. The qualifier tracks allow fewer sensors."""

    SENSORS = "SENSORS"
    MAP = "MAP"
    SENSORS_QUALIFIER = "SENSORS_QUALIFIER"
    MAP_QUALIFIER = "MAP_QUALIFIER"


class AutonomousAgent:
    """Base class of agents.

    The evaluator constructs the agent, hands it the plan with `set_global_plan`, calls `setup`, asks for `sensors`, then
    calls the agent once per tick and finally `destroy`. The module of an agent offers ``get_entry_point()``, which returns
    the class name.

    Attributes:
        track: Set it in `setup`.
        plan_sampling_m: Spacing of the thinned plan, metres; set by the evaluator from its rules.
        route_id: Id of the route in its file; set by the evaluator before `setup`, None under evaluators that do not.
        hero_actor: The ego vehicle, None before there is one. Sensor agents must not read it.
    """

    plan_sampling_m: float = 200.0
    route_id: str | None = None

    def __init__(self, carla_host: str, carla_port: int | None = None, debug: bool = False):
        """Take over where the simulator is.

        Agents of CARLA Leaderboard 1 call this with one argument, their configuration; it then calls `setup` as it did there.
        """
        self.track = Track.SENSORS
        self.debug = debug
        self._carla_host, self._carla_port = carla_host, carla_port
        self._prepare()
        if carla_port is None:
            self.setup(carla_host)

    def _prepare(self) -> None:
        """Everything that does not depend on the constructor's shape."""
        self.hero_actor: carla.Vehicle | None = CarlaDataProvider.get_hero_actor()
        self._global_plan: GpsPlan = []
        self._global_plan_world_coord: RoutePlan = []
        self.org_dense_route_gps: GpsPlan = []
        self.org_dense_route_world_coord: RoutePlan = []
        self._plan_gps_HACK: GpsPlan = []
        self.sensor_interface = SensorInterface()
        self.wallclock_t0: float | None = None
        self.verbose = True

    def setup(self, path_to_conf_file: str) -> None:
        """Prepare the agent, e.g. load a model; set ``self.track``.

        Args:
            path_to_conf_file: The text of ``--agent-config``; under Bench2Drive's rules followed by ``+<save name>``.
        """

    def sensors(self) -> list[dict[str, Any]]:
        """Sensors to mount; called twice, must answer the same.

        Returns:
            Dictionaries with ``type``, ``id``, ``x``, ``y``, ``z`` (metres) and ``roll``, ``pitch``, ``yaw`` (degrees)
            relative to the ego; cameras also ``width``, ``height``, ``fov``.
        """
        return []

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        """Decide on the next control.

        Args:
            input_data: Sensor id to (frame, payload), see `leaderboard.envs.sensor_interface`.
            timestamp: Game time, seconds.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override run_step")

    def destroy(self) -> None:
        """Free what the agent holds."""

    @staticmethod
    def get_ros_version() -> int:
        """-1: this agent does not use ROS."""
        return -1

    def set_global_plan(self, global_plan_gps: GpsPlan, global_plan_world_coord: RoutePlan) -> None:
        """Receive the plan: dense lists of (place, command). The thinned lists go to ``_global_plan`` (GPS) and
        ``_global_plan_world_coord``, the dense ones stay in ``org_dense_route_gps`` and ``org_dense_route_world_coord``."""
        kept = downsample_route(global_plan_world_coord, self.plan_sampling_m)
        self._global_plan = [global_plan_gps[i] for i in kept]
        self._global_plan_world_coord = [global_plan_world_coord[i] for i in kept]
        self.org_dense_route_gps = self._plan_gps_HACK = list(global_plan_gps)
        self.org_dense_route_world_coord = list(global_plan_world_coord)

    def __call__(self, *sensors: Any) -> carla.VehicleControl:
        """Collect the data of this tick, ask `run_step`, forbid manual gears. Extra arguments are passed on to `run_step`."""
        input_data = self.sensor_interface.get_data(GameTime.get_frame())
        timestamp = GameTime.get_time()
        if self.wallclock_t0 is None:
            self.wallclock_t0 = time.monotonic()
        control = self.run_step(input_data, timestamp, *sensors)
        control.manual_gear_shift = False
        return control

    def get_metric_info(self) -> dict[str, list[float]]:
        """Motion of the ego for the smoothness metric, as the evaluator records it each tick.

        Returns:
            ``acceleration`` (m/s²), ``angular_velocity`` (deg/s), ``forward_vector``, ``right_vector``, ``location`` (m),
            each [x, y, z] in the world frame, and ``rotation`` [roll, pitch, yaw] in degrees.

        Raises:
            RuntimeError: If there is no ego vehicle.
        """
        if self.hero_actor is None:
            raise RuntimeError("there is no ego vehicle; metric information exists only while a route runs")
        return metric_info(self.hero_actor)


def metric_info(actor: carla.Actor) -> dict[str, list[float]]:
    """See `AutonomousAgent.get_metric_info`."""
    transform = actor.get_transform()
    rotation = transform.rotation
    return {
        "acceleration": _xyz(actor.get_acceleration()),
        "angular_velocity": _xyz(actor.get_angular_velocity()),
        "forward_vector": _xyz(transform.get_forward_vector()),
        "right_vector": _xyz(transform.get_right_vector()),
        "location": _xyz(transform.location),
        "rotation": [rotation.roll, rotation.pitch, rotation.yaw],
    }


def _xyz(vector: carla.Vector3D) -> list[float]:
    return [vector.x, vector.y, vector.z]
