"""What a route file says about one scenario."""

from __future__ import annotations

from dataclasses import dataclass, field

import carla

from driving.commands import RoadOption

RoutePlan = list[tuple[carla.Transform, RoadOption]]
"""An interpolated route: poses in the world frame about one metre apart, each with its navigation command."""


@dataclass
class ActorConfigurationData:
    """An actor that a route or scenario asks for.

    Attributes:
        model: Blueprint id or pattern.
        transform: Pose in the world frame, metres and degrees.
        rolename: Value of the actor's ``role_name`` attribute.
        speed: Initial speed, m/s.
        autopilot: Whether the Traffic Manager drives it.
        color: ``"R,G,B"`` or None.
    """

    model: str
    transform: carla.Transform
    rolename: str = "scenario"
    speed: float = 0.0
    autopilot: bool = False
    color: str | None = None


@dataclass
class ScenarioConfiguration:
    """One ``<scenario>`` element together with the route it lies on.

    Attributes:
        name: Name in the file, normally ``<Type>_<n>``.
        type: Scenario type as written in the file; the registry turns it into a class.
        trigger_points: Poses in the world frame with roll and pitch 0; only the first one triggers.
        other_parameters: Every other child element as its attribute texts, by tag.
        other_actors: Actors listed by the file (none of the official files lists any).
        route: The whole interpolated route; filled in by the route scenario.
        route_var_name: Blackboard variable that becomes true when the scenario is triggered.
        ego_vehicles: The ego's model, pose and role.
        line: Line of the element in its file, 0 if it was not read from a file.
    """

    name: str
    type: str
    trigger_points: list[carla.Transform]
    other_parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    other_actors: list[ActorConfigurationData] = field(default_factory=list)
    route: RoutePlan = field(default_factory=list)
    route_var_name: str = ""
    ego_vehicles: list[ActorConfigurationData] = field(default_factory=list)
    line: int = 0
