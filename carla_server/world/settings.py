"""Episode settings and weather as the client sends and reads them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import Any

from carla_server.sensors.views import WeatherView
from carla_server.wire import values

#: Step of a server whose settings fix none, seconds.
DEFAULT_STEP_S = 0.05
#: Steps outside these make no sense to integrate, seconds.
SHORTEST_STEP_S, LONGEST_STEP_S = 1e-4, 1.0


@dataclass(frozen=True)
class Settings:
    """`carla.WorldSettings`, in the order of the wire.

    Attributes:
        synchronous: Whether time advances only on request.
        fixed_step: Length of a tick in seconds; None for the default.
    """

    synchronous: bool = False
    no_rendering: bool = False
    fixed_step: float | None = None
    substepping: bool = True
    max_substep: float = 0.01
    max_substeps: int = 10
    max_culling_distance: float = 0.0
    deterministic_ragdolls: bool = True
    tile_stream_distance: float = 3000.0
    actor_active_distance: float = 2000.0
    spectator_as_ego: bool = True

    @property
    def step(self) -> float:
        """Length of a tick, seconds."""
        return self.fixed_step if self.fixed_step is not None else DEFAULT_STEP_S

    @classmethod
    def read(cls, item: Any) -> Settings:
        """Read what a client sent.

        Raises:
            ArgumentError: It is no settings struct, or its step is out of range.
        """
        row = values.array(item, 11)
        step = values.optional(row[2])
        if step is not None:
            step = values.number(step)
            # The client writes 0 for "no fixed step".
            if step == 0.0:
                step = None
            elif not SHORTEST_STEP_S <= step <= LONGEST_STEP_S:
                raise values.ArgumentError(
                    f"fixed_delta_seconds must lie between {SHORTEST_STEP_S} and {LONGEST_STEP_S}, got {step}"
                )
        return cls(
            synchronous=values.boolean(row[0]),
            no_rendering=values.boolean(row[1]),
            fixed_step=step,
            substepping=values.boolean(row[3]),
            max_substep=values.number(row[4]),
            max_substeps=values.integer(row[5]),
            max_culling_distance=values.number(row[6]),
            deterministic_ragdolls=values.boolean(row[7]),
            tile_stream_distance=values.number(row[8]),
            actor_active_distance=values.number(row[9]),
            spectator_as_ego=values.boolean(row[10]),
        )

    @cached_property
    def wire(self) -> list[Any]:
        """EpisodeSettings as the client reads it; asked for several times per tick."""
        row = list(astuple(self))
        row[2] = [False] if self.fixed_step is None else [True, self.fixed_step]
        return row


def read_weather(item: Any) -> WeatherView:
    """Weather as a client sent it; a shorter array leaves the rest at its default."""
    return WeatherView(*(values.number(part) for part in values.array(item)[:14]))


@lru_cache(maxsize=4)
def weather_wire(weather: WeatherView) -> list[float]:
    """WeatherParameters as the client reads it."""
    return list(astuple(weather))
