"""What scenarios ask of the background traffic, as modifications with an owner.

A modification holds until its owner takes it back or ends; then the traffic is as if it had never been asked. Modifications
of several owners combine: the lowest cap, any off-switch, the largest space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class JunctionRequest:
    """How the next junction is prepared.

    Attributes:
        clear_junction: Remove cars inside, now and when they enter.
        clear_entry: Remove cars between ego and junction, and hold those behind ego back.
        remove_entries: Waypoints whose lanes send no cars in.
        remove_exits: Waypoints whose lanes take no cars out.
        stop_entries: Cars of the other entries wait.
        extend_exit: Cars prepared behind the exit stand this much farther off, metres.
    """

    clear_junction: bool = False
    clear_entry: bool = False
    remove_entries: tuple[Any, ...] = ()
    remove_exits: tuple[Any, ...] = ()
    stop_entries: bool = False
    extend_exit: float = 0.0


@dataclass
class Wishes:
    """All that one owner holds.

    Attributes:
        speed_cap_kmh: Highest speed of all background cars.
        opposite_off: No new oncoming cars.
        opposite_spacing: Distance between oncoming cars, metres.
        sources_off: No new cars behind ego.
        extra_space: Cars ahead may run this much farther off, metres.
        spawn_distance: Distance between cars on the road, metres.
        front_stopped, back_stopped: Cars ahead of or behind ego stand still.
        front_space: No car on ego's lane nearer ahead than this, metres; asked once.
        removed_lanes: Waypoints whose lanes hold no cars.
        junction: Preparation of the next junction.
        crossing: Waypoint around which oncoming cars are removed or stopped; asked once.
    """

    speed_cap_kmh: float | None = None
    opposite_off: bool = False
    opposite_spacing: float | None = None
    sources_off: bool = False
    extra_space: float = 0.0
    spawn_distance: float | None = None
    front_stopped: bool = False
    back_stopped: bool = False
    front_space: float = 0.0
    removed_lanes: list[Any] = field(default_factory=list)
    junction: JunctionRequest | None = None
    crossing: Any | None = None


class TrafficRequests:
    """The ledger between scenarios and background traffic. Scenarios write, the traffic reads in the same tick."""

    def __init__(self) -> None:
        self._wishes: dict[int, Wishes] = {}
        self.restored_lanes: list[Any] = []
        """Lanes handed back since the traffic last looked; the traffic empties this list."""

    def of(self, owner: int) -> Wishes:
        """The wishes of one owner, to be changed in place."""
        return self._wishes.setdefault(owner, Wishes())

    def give_back_lanes(self, owner: int) -> None:
        """Let cars use the lanes again that ``owner`` had removed."""
        wishes = self.of(owner)
        self.restored_lanes.extend(wishes.removed_lanes)
        wishes.removed_lanes = []

    def release(self, owner: int) -> None:
        """Drop everything ``owner`` holds; nothing happens the second time."""
        if owner in self._wishes:
            self.give_back_lanes(owner)
            del self._wishes[owner]

    def clear(self) -> None:
        """Drop everything of everybody."""
        self._wishes.clear()
        self.restored_lanes.clear()

    @property
    def holders(self) -> dict[int, Wishes]:
        """Wishes by owner."""
        return self._wishes

    @property
    def speed_cap_kmh(self) -> float | None:
        """The lowest cap anybody asks for, None without one."""
        return min((w.speed_cap_kmh for w in self._wishes.values() if w.speed_cap_kmh), default=None)

    @property
    def opposite_active(self) -> bool:
        """Whether oncoming cars appear."""
        return not any(w.opposite_off for w in self._wishes.values())

    @property
    def opposite_spacing(self) -> float | None:
        """The widest spacing of oncoming cars anybody asks for, metres."""
        return max((w.opposite_spacing for w in self._wishes.values() if w.opposite_spacing), default=None)

    @property
    def sources_active(self) -> bool:
        """Whether cars appear behind ego."""
        return not any(w.sources_off for w in self._wishes.values())

    @property
    def extra_space(self) -> float:
        """Metres by which cars ahead may run farther off."""
        return max((w.extra_space for w in self._wishes.values()), default=0.0)

    @property
    def spawn_distance(self) -> float | None:
        """Distance between cars on the road, metres."""
        return max((w.spawn_distance for w in self._wishes.values() if w.spawn_distance), default=None)

    @property
    def front_stopped(self) -> bool:
        """Whether cars ahead stand."""
        return any(w.front_stopped for w in self._wishes.values())

    @property
    def back_stopped(self) -> bool:
        """Whether cars behind stand."""
        return any(w.back_stopped for w in self._wishes.values())

    @property
    def removed_lanes(self) -> list[Any]:
        """Waypoints of all lanes without cars."""
        return [lane for w in self._wishes.values() for lane in w.removed_lanes]

    @property
    def junctions(self) -> list[tuple[int, JunctionRequest]]:
        """(owner, request) of all prepared junctions."""
        return [(owner, w.junction) for owner, w in self._wishes.items() if w.junction is not None]

    def take_front_space(self) -> float:
        """The free space asked for ahead of ego, metres, once."""
        space = max((w.front_space for w in self._wishes.values()), default=0.0)
        for wishes in self._wishes.values():
            wishes.front_space = 0.0
        return space

    def take_crossings(self) -> list[Any]:
        """Crossing places asked for since the last call."""
        crossings = [w.crossing for w in self._wishes.values() if w.crossing is not None]
        for wishes in self._wishes.values():
            wishes.crossing = None
        return crossings
