"""Recorder and replayer: accepted by name, so that scripts written for them run; nothing is recorded."""

from __future__ import annotations

from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import values

NO_RECORDER = "this server keeps no recordings"


@value()
def start_recorder(simulator: Simulator, session: Session, name: Any, additional: Any = False) -> str:
    """Say that nothing will be recorded."""
    return f"{NO_RECORDER}; {values.text(name)!r} was not opened"


@void("stop_recorder", "stop_replayer", "set_replayer_time_factor")
def stop(simulator: Simulator, session: Session, *arguments: Any) -> None:
    """Nothing is recorded or replayed; accepted without effect."""


@void("set_replayer_ignore_hero", "set_replayer_ignore_spectator")
def replayer_option(simulator: Simulator, session: Session, ignore: Any) -> None:
    """Nothing is replayed; accepted without effect."""


@value("show_recorder_file_info", "show_recorder_collisions", "show_recorder_actors_blocked", "replay_file")
def read_recording(simulator: Simulator, session: Session, name: Any, *options: Any) -> str:
    """Say that there is no recording."""
    return f"{NO_RECORDER}; {values.text(name)!r} does not exist"
