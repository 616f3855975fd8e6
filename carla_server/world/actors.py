"""One actor: what it is, where its row lies, and how the client reads its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carla_server.wire.values import Pose
from carla_server.world.blueprints import Blueprint
from carla_server.world.state import Kind

#: Half sizes and centre of a box, metres.
Triple = tuple[float, float, float]

NO_BOX: list[Any] = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0]


@dataclass(eq=False)
class Actor:
    """An actor of the episode.

    Attributes:
        id: Never used again within an episode; every episode counts from 1, so that equal episodes have equal ids.
        type_id: Blueprint id, or the type of a map actor such as ``traffic.stop``.
        kind: What physics does with it.
        row: Its row in `ActorRows`.
        description: ActorDescription as the client sent it.
        attributes: Values by name, defaults included.
        extent: Half sizes of the bounding box, metres.
        center: Middle of the box in the actor frame, metres.
        blueprint: None for actors of the map.
        parent: Actor that carries it.
        relative: Pose in the parent's frame if it is fixed to it.
        children: Ids of the actors it carries.
        tag: Semantic class.
        stream: Stream of its data, 0 if it has none.
        token: Where that stream is served, 24 bytes or none.
        sensor: What measures; None for other actors.
        lights: Bits of `carla.VehicleLightState`.
        doors: Bits of open doors.
        physics: VehiclePhysicsControl set by a client, as sent.
        ackermann: Ackermann control in force.
        signal_id: OpenDRIVE id of the signal it stands for.
    """

    id: int
    type_id: str
    kind: Kind
    row: int
    description: list[Any]
    attributes: Mapping[str, str]
    extent: Triple = (0.0, 0.0, 0.0)
    center: Triple = (0.0, 0.0, 0.0)
    blueprint: Blueprint | None = None
    parent: Actor | None = None
    relative: Pose | None = None
    children: list[int] = field(default_factory=list)
    tag: int = 0
    stream: int = 0
    token: bytes = b""
    sensor: Any = None
    lights: int = 0
    doors: int = 0
    physics: list[Any] | None = None
    ackermann: Any = None
    ackermann_gains: list[float] | None = None
    signal_id: str = ""
    wheel_turn: dict[int, float] = field(default_factory=dict)

    def wire_box(self) -> list[Any]:
        """BoundingBox in the actor frame."""
        return [list(self.center), list(self.extent), [0.0, 0.0, 0.0], self.id]

    def wire(self) -> list[Any]:
        """Actor as the client reads it."""
        parent = self.parent.id if self.parent is not None else 0
        return [self.id, parent, self.description, self.wire_box(), bytes([self.tag]), self.token]
