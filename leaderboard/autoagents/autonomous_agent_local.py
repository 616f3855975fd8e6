"""The agent interface of the data-collection evaluators (PDM-Lite, SimLingo): other arguments, same life cycle."""

from __future__ import annotations

from typing import Any

import carla

from leaderboard.autoagents.autonomous_agent import AutonomousAgent as OfficialAgent
from leaderboard.autoagents.autonomous_agent import Track
from leaderboard.envs.sensor_interface import SensorData

__all__ = ["AutonomousAgent", "Track"]


class AutonomousAgent(OfficialAgent):
    """Base class of agents in the collection shape.

    Differences from the official shape: the constructor takes (agent configuration, route index), `setup` takes the
    route-date string and the Traffic Manager as well, `run_step` also receives ``[[id, sensor actor], …]``, and `destroy` the
    finished route record. The evaluator recognises the shape by the number of arguments of `setup`.
    """

    def __init__(self, path_to_conf_file: str, route_index: int | str | None = None):
        self.track = Track.MAP
        self.debug = False
        self.config_path = path_to_conf_file
        self.route_index = route_index
        self._prepare()

    def setup(
        self,
        path_to_conf_file: str,
        route_index: str | None = None,
        traffic_manager: carla.TrafficManager | None = None,
    ) -> None:
        """Prepare the agent.

        Args:
            path_to_conf_file: The text of ``--agent-config``.
            route_index: ``<routes file stem>_route<index>_<MM>_<DD>_<hh>_<mm>_<ss>``, names the output folder.
            traffic_manager: The run's Traffic Manager.
        """

    def run_step(
        self, input_data: SensorData, timestamp: float, sensors: list[list[Any]] | None = None
    ) -> carla.VehicleControl:
        """Decide on the next control; ``sensors`` holds [id, sensor actor] pairs."""
        raise NotImplementedError(f"{type(self).__name__} does not override run_step")

    def destroy(self, results: Any = None) -> None:
        """Free what the agent holds.

        ``results`` is the finished `RouteRecord` (its ``__dict__`` is the record of the results file) or None."""
