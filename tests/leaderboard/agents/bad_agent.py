"""A driver with exactly one bad habit, named by its configuration; otherwise it keeps to its lane and looks at nothing."""

from __future__ import annotations

from typing import Any

import carla

from leaderboard.autoagents.autonomous_agent import AutonomousAgent, Track
from leaderboard.autoagents.route_following import RouteFollower, pedals
from leaderboard.envs.sensor_interface import SensorData

SPEED_MPS = 8.0
OFFSET_M = 3.5
"""To the left, into the lane of the other direction."""

STOPS_BEFORE_M, BRAKE = 7.0, 2.5


def get_entry_point() -> str:
    return "BadAgent"


class BadAgent(AutonomousAgent):
    def setup(self, path_to_conf_file: str) -> None:
        self.habit = path_to_conf_file.split("+")[0]
        self.track = Track.SENSORS
        self._follower = RouteFollower(self.org_dense_route_world_coord)
        self._top_speed, self._ticks_since_hit = 0.0, 0
        self._end = self.org_dense_route_world_coord[-1][0].location
        if self.habit == "looks_at_nothing":
            assert self.hero_actor is not None
            for light in self.hero_actor.get_world().get_actors().filter("traffic.traffic_light*"):
                light.set_state(carla.TrafficLightState.Red)
                light.freeze(True)

    def sensors(self) -> list[dict[str, Any]]:
        return [{"type": "sensor.speedometer", "id": "speed"}]

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        speed = input_data["speed"][1]["speed"]
        throttle, brake = pedals(speed, self._target_speed(speed))
        return carla.VehicleControl(throttle=throttle, steer=self._follower.steer(self._pose(), speed), brake=brake)

    def _pose(self) -> carla.Transform:
        assert self.hero_actor is not None
        pose = self.hero_actor.get_transform()
        if self.habit == "leaves_the_lane":
            right = pose.get_right_vector()
            pose.location += carla.Location(OFFSET_M * right.x, OFFSET_M * right.y, 0.0)
        return pose

    def _target_speed(self, speed: float) -> float:
        self._top_speed = max(self._top_speed, speed)
        self._ticks_since_hit += self._top_speed > 0.8 * SPEED_MPS and speed < 0.6 * SPEED_MPS
        if self.habit == "looks_at_nothing" and self._ticks_since_hit > 10:
            raise RuntimeError("there was something in the way")
        if self.habit == "stops_before_the_end":
            assert self.hero_actor is not None
            way = self.hero_actor.get_location().distance(self._end) - STOPS_BEFORE_M
            return min(SPEED_MPS, (2.0 * BRAKE * way) ** 0.5) if way > 0.2 else 0.0
        return SPEED_MPS
