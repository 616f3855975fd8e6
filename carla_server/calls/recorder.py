"""Recorder and replayer: files in CARLA's format, on the server's machine, and what is asked about them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import recording, values
from carla_server.wire.recording import NO_ACTOR, ActorType, Frame, Head, Packet
from carla_server.wire.values import Pose
from carla_server.world.recorder import FOLLOW_FROM, Recorder, Replayer

#: Letters by which clients choose the kinds of actors that collided; "h" is a hero, "a" is anything.
CATEGORIES = {ActorType.OTHER: "o", ActorType.VEHICLE: "v", ActorType.WALKER: "w", ActorType.TRAFFIC_LIGHT: "t"}
HERO, ANY = "h", "a"
LIGHT_NAMES = (
    *("Position", "LowBeam", "HighBeam", "Brake", "RightBlinker", "LeftBlinker"),
    *("Reverse", "Fog", "Interior", "Special1", "Special2"),
)


def _path(simulator: Simulator, name: Any) -> Path:
    """Where a recording lies: relative names in the server's folder of recordings."""
    return simulator.recordings / values.text(name)


def _load(simulator: Simulator, name: Any) -> tuple[Head, list[Frame]] | str:
    """A recording, or what to answer where there is none."""
    path = _path(simulator, name)
    if not path.is_file():
        return f"File {path} not found on server\n"
    if simulator.world.recorder is not None and simulator.world.recorder.path == path:
        simulator.world.recorder.flush()
    try:
        return recording.read(path.read_bytes())
    except ValueError:
        return "File is not a CARLA recorder\n"


@value()
def start_recorder(simulator: Simulator, session: Session, name: Any, additional: Any = False) -> str:
    """Record every tick from now on; returns the file's full name. There are no additional data beyond the usual."""
    # The one before is finished first: it may be the same file.
    simulator.world.record(None)
    recorder = Recorder(simulator.world, _path(simulator, name))
    simulator.world.record(recorder)
    return str(recorder.path.resolve())


@void()
def stop_recorder(simulator: Simulator, session: Session) -> None:
    """Finish the recording."""
    simulator.world.record(None)


@value()
def replay_file(
    simulator: Simulator,
    session: Session,
    name: Any,
    start: Any = 0.0,
    duration: Any = 0.0,
    follow: Any = 0,
    sensors: Any = False,
    offset: Any = None,
) -> str:
    """Play a recording of the present town; what will be played is told."""
    found = _load(simulator, name)
    if isinstance(found, str):
        return found
    head, frames = found
    present = simulator.world.road_map.name
    town = head.town.rpartition("/")[2]
    if town != present:
        return f"{name} was recorded in {town}, the present town is {present}; call load_world({town!r}) first\n"
    if not frames:
        return f"{name} holds no frame\n"
    view = FOLLOW_FROM if offset is None else values.transform(offset)
    player = Replayer(
        *(simulator.world, frames, values.number(start), values.number(duration), values.unsigned(follow)),
        *(values.boolean(sensors), FOLLOW_FROM if view == Pose(*[0.0] * 6) else view, simulator.replay_options),
    )
    simulator.world.replay(player, keep=False)
    return (
        f"Replaying File: {_path(simulator, name)}\nTotal time recorded: {player.total:g}\n"
        f"Replaying from {player.start:g} s - {player.stop:g} s ({player.total:g} s) at {player.options.factor:.1f}x\n"
    )


@void()
def stop_replayer(simulator: Simulator, session: Session, keep_actors: Any = True) -> None:
    """End the replay."""
    simulator.world.replay(None, values.boolean(keep_actors))


@void()
def set_replayer_time_factor(simulator: Simulator, session: Session, factor: Any) -> None:
    """Replayed seconds per simulated second."""
    simulator.replay_options.factor = values.clamp(values.number(factor), 0.0, 1000.0)


@void()
def set_replayer_ignore_hero(simulator: Simulator, session: Session, ignore: Any) -> None:
    """Leave the recorded ego vehicle out of the next replay."""
    simulator.replay_options.ignore_hero = values.boolean(ignore)


@void()
def set_replayer_ignore_spectator(simulator: Simulator, session: Session, ignore: Any) -> None:
    """Leave the spectator where the client puts it."""
    simulator.replay_options.ignore_spectator = values.boolean(ignore)


def _opening(head: Head) -> str:
    date = time.strftime("%x %X", time.localtime(head.date))
    return f"Version: {recording.VERSION}\nMap: {head.town.rpartition('/')[2]}\nDate: {date}\n\n"


def _closing(frames: list[Frame]) -> str:
    number, elapsed = (frames[-1].number, frames[-1].elapsed) if frames else (0, 0.0)
    return f"\nFrames: {number}\nDuration: {elapsed:g} seconds\n"


@value()
def show_recorder_file_info(simulator: Simulator, session: Session, name: Any, everything: Any = False) -> str:
    """What a recording holds, in the words of CARLA, which scenario_runner's metrics parse."""
    found = _load(simulator, name)
    if isinstance(found, str):
        return found
    head, frames = found
    show_all = values.boolean(everything)
    return _opening(head) + "".join(_frame_text(frame, show_all) for frame in frames) + _closing(frames)


def _frame_text(frame: Frame, show_all: bool) -> str:
    lines = []
    for row in frame.added:
        x, y, z = row.place[:3]
        lines.append(f" Create {row.id}: {row.type_id} ({int(row.type)}) at ({x:g}, {y:g}, {z:g})")
        lines += [f"  {name} = {content}" for _, name, content in row.attributes]
    lines += [f" Destroy {number}" for (number,) in frame.rows.get(Packet.DELETE, _NONE).tolist()]
    lines += [f" Parenting {a} with {b} (parent)" for a, b in frame.rows.get(Packet.PARENT, _NONE).tolist()]
    for number, one, two, hero, other_hero in frame.rows.get(Packet.COLLISION, _NONE).tolist():
        mark, other_mark = " (hero) " if hero else "", " (hero) " if other_hero else ""
        lines.append(f" Collision id {number} between {one}{mark} with {two}{other_mark}")
    if show_all:
        for kind, (title, line) in _SECTIONS.items():
            rows = frame.rows.get(kind)
            if rows is not None:
                lines += [f" {title}: {len(rows)}", *(line(*row) for row in rows.tolist())]
    if not lines and not show_all:
        return ""
    return "\n".join((f"Frame {frame.number} at {frame.elapsed:g} seconds", *lines, ""))


_NONE = np.empty(0)


def _triple(values_: Any) -> str:
    return "({:g}, {:g}, {:g})".format(*values_)


def _lights_text(number: int, flags: int) -> str:
    names = [name for bit, name in enumerate(LIGHT_NAMES) if flags >> bit & 1]
    return f"  Id: {number} {' '.join(names) or 'None'}"


_SECTIONS: dict[Packet, tuple[str, Any]] = {
    Packet.POSITION: (
        "Positions",
        lambda number, place, turn: f"  Id: {number} Location: {_triple(place)} Rotation: {_triple(turn)}",
    ),
    Packet.LIGHT_STATE: (
        "State traffic lights",
        lambda number, frozen, elapsed, state: (
            f"  Id: {number} state: {state} frozen: {frozen} elapsedTime: {elapsed:g}"
        ),
    ),
    Packet.VEHICLE: (
        "Vehicle animations",
        lambda number, steer, throttle, brake, hand, gear: (
            f"  Id: {number} Steering: {steer:g} Throttle: {throttle:g} Brake: {brake:g} Handbrake: {hand} Gear: {gear}"
        ),
    ),
    Packet.WALKER: ("Walker animations", lambda number, speed: f"  Id: {number} speed: {speed:g}"),
    Packet.VEHICLE_LIGHTS: ("Vehicle light animations", _lights_text),
}


@value()
def show_recorder_collisions(
    simulator: Simulator, session: Session, name: Any, first: Any = "a", second: Any = "a"
) -> str:
    """When which actors of two categories began to touch."""
    found = _load(simulator, name)
    if isinstance(found, str):
        return found
    head, frames = found
    wanted = [_category(first), _category(second)]
    lines = [f"{'Time':>8} {'Types':>6} {'Id':>6} {'Actor 1':<35} {'Id':>6} {'Actor 2':<35}"]
    known: dict[int, tuple[str, str]] = {NO_ACTOR: (CATEGORIES[ActorType.OTHER], "")}
    before: set[tuple[int, int]] = set()
    for frame in frames:
        known.update({row.id: (CATEGORIES[row.type], row.type_id) for row in frame.added})
        now = set()
        for _, one, two, hero, other_hero in frame.rows.get(Packet.COLLISION, _NONE).tolist():
            kinds = [known.get(number, known[NO_ACTOR])[0] for number in (one, two)]
            pairs = zip(wanted, kinds, (hero, other_hero))
            if not all(want in (ANY, kind) or (want == HERO and is_hero) for want, kind, is_hero in pairs):
                continue
            now.add((one, two))
            if (one, two) not in before:
                names = [known.get(number, known[NO_ACTOR])[1] for number in (one, two)]
                lines.append(
                    f"{frame.elapsed:8.0f}   {kinds[0]} {kinds[1]}  {one:6} {names[0]:<35} {two:6} {names[1]:<35}"
                )
        before = now
    return _opening(head) + "\n".join(lines) + "\n" + _closing(frames)


def _category(letter: Any) -> str:
    """A category as the client sends it: a letter, or its number as a C++ char travels."""
    return chr(letter) if type(letter) is int and 0 < letter < 128 else values.text(letter)


@value()
def show_recorder_actors_blocked(
    simulator: Simulator, session: Session, name: Any, seconds: Any = 30.0, distance: Any = 10.0
) -> str:
    """Actors that moved less than a distance (centimetres) for some seconds, longest first."""
    found = _load(simulator, name)
    if isinstance(found, str):
        return found
    head, frames = found
    least, reach = values.number(seconds), values.number(distance)
    stands = [stand for stand in _stands(frames, reach) if stand[2] >= least]
    names = {row.id: row.type_id for frame in frames for row in frame.added}
    lines = [f"{'Time':>8} {'Id':>6} {'Actor':<35} {'Duration':>10}"]
    for number, since, lasted in sorted(stands, key=lambda stand: -stand[2]):
        lines.append(f"{since:8.0f} {number:6} {names.get(number, ''):<35} {lasted:10.0f}")
    return _opening(head) + "\n".join(lines) + "\n" + _closing(frames)


def _stands(frames: list[Frame], reach: float) -> list[tuple[int, float, float]]:
    """Actor, begin and length of every time that somebody stayed within `reach` centimetres."""
    found: list[tuple[int, float, float]] = []
    standing: dict[int, tuple[Any, float, float]] = {}
    for frame in frames:
        positions: Any = frame.rows.get(Packet.POSITION, ())
        for row in positions:
            number, place = int(row["id"]), row["location"]
            anchor, since, lasted = standing.get(number, (place, frame.elapsed, 0.0))
            if np.linalg.norm(place - anchor) < reach:
                standing[number] = anchor, since, lasted + frame.duration
            else:
                found.append((number, since, lasted))
                standing[number] = place, frame.elapsed, 0.0
    return found + [(number, since, lasted) for number, (_, since, lasted) in standing.items()]
