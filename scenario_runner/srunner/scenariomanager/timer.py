"""The game clock: simulated seconds since the route started."""

from __future__ import annotations

import datetime
from typing import Any


class GameTime:
    """Counts ``delta × frames`` so that dropped frames count and warm-up ticks before `restart` do not.

    One clock per process, as agents and criteria written for CARLA's scenario runner expect. The first tick after a restart
    counts as one frame whatever its number.
    """

    _game_time = 0.0
    _carla_time = 0.0
    _last_frame = 0
    _platform_time: datetime.datetime | int = 0
    _fresh = True

    @staticmethod
    def on_carla_tick(timestamp: Any) -> None:
        """Advance to a `carla.Timestamp`; older or equal frames are ignored."""
        if timestamp.frame <= GameTime._last_frame and not GameTime._fresh:
            return
        frames = 1 if GameTime._fresh else timestamp.frame - GameTime._last_frame
        GameTime._game_time += timestamp.delta_seconds * frames
        GameTime._last_frame = timestamp.frame
        GameTime._platform_time = datetime.datetime.now()
        GameTime._carla_time = timestamp.elapsed_seconds
        GameTime._fresh = False

    @staticmethod
    def restart() -> None:
        """Set the clock to zero; the next tick counts as the first frame."""
        GameTime._game_time = 0.0
        GameTime._carla_time = 0.0
        GameTime._last_frame = 0
        GameTime._fresh = True

    @staticmethod
    def get_time() -> float:
        """Simulated seconds since `restart`."""
        return GameTime._game_time

    @staticmethod
    def get_carla_time() -> float:
        """Simulated seconds since the simulator loaded its world."""
        return GameTime._carla_time

    @staticmethod
    def get_wallclocktime() -> datetime.datetime | int:
        """Platform time of the last tick, 0 before the first one."""
        return GameTime._platform_time

    @staticmethod
    def get_frame() -> int:
        """Number of the last frame."""
        return GameTime._last_frame
