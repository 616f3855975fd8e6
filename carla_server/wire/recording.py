"""Recordings in CARLA's own binary format, so that its tools read ours and ours read CARLA's.

A file begins with version, the words ``CARLA_RECORDER``, a date and the map; packets of one byte kind and four bytes
size follow. Lengths are centimetres, angles degrees. Little-endian and packed. Layout: CARLA's documentation
(``ref_recorder_binary_file_format``) and the structures of its recorder.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

MAGIC, VERSION = "CARLA_RECORDER", 1
#: Centimetres per metre.
CM = 100.0
#: Stands for something that is no actor.
NO_ACTOR = 0xFFFFFFFF


class Packet(IntEnum):
    """Kinds of packets that are written and read here; others are skipped."""

    FRAME_START = 0
    FRAME_END = 1
    ADD = 2
    DELETE = 3
    PARENT = 4
    COLLISION = 5
    POSITION = 6
    LIGHT_STATE = 7
    VEHICLE = 8
    WALKER = 9
    VEHICLE_LIGHTS = 10


class ActorType(IntEnum):
    """What an added actor is."""

    OTHER = 0
    VEHICLE = 1
    WALKER = 2
    TRAFFIC_LIGHT = 3


#: Rows of the packets that hold a number of equal rows.
ROWS = {
    Packet.DELETE: np.dtype([("id", "<u4")]),
    Packet.PARENT: np.dtype([("id", "<u4"), ("parent", "<u4")]),
    Packet.COLLISION: np.dtype(
        [("number", "<u4"), ("id", "<u4"), ("other", "<u4"), ("hero", "u1"), ("other_hero", "u1")]
    ),
    # Location in centimetres; rotation as roll, pitch, yaw in degrees.
    Packet.POSITION: np.dtype([("id", "<u4"), ("location", "<f4", 3), ("rotation", "<f4", 3)]),
    Packet.LIGHT_STATE: np.dtype([("id", "<u4"), ("frozen", "u1"), ("elapsed", "<f4"), ("state", "u1")]),
    Packet.VEHICLE: np.dtype(
        [("id", "<u4"), ("steer", "<f4"), ("throttle", "<f4"), ("brake", "<f4"), ("hand_brake", "u1"), ("gear", "<i4")]
    ),
    Packet.WALKER: np.dtype([("id", "<u4"), ("speed", "<f4")]),
    Packet.VEHICLE_LIGHTS: np.dtype([("id", "<u4"), ("flags", "<u4")]),
}

Rows = NDArray[np.void]
_HEAD = struct.Struct("<BI")
_FRAME = struct.Struct("<Qdd")
_ADDED = struct.Struct("<IB6fI")


@dataclass(frozen=True)
class Added:
    """An actor that came into being.

    Attributes:
        id: Its number when it was recorded.
        type: What it is.
        place: x, y, z in centimetres, then roll, pitch, yaw in degrees.
        uid: Number of its blueprint.
        type_id: Blueprint id.
        attributes: (kind, name, value) of each attribute.
    """

    id: int
    type: ActorType
    place: tuple[float, ...]
    uid: int
    type_id: str
    attributes: tuple[tuple[int, str, str], ...]


@dataclass
class Frame:
    """One recorded tick.

    Attributes:
        number: Counted from 1.
        duration: Until the next frame, seconds.
        elapsed: Since the recording began, seconds.
        added: Actors that came into being.
        rows: Rows of all other packets.
    """

    number: int
    duration: float
    elapsed: float
    added: list[Added] = field(default_factory=list)
    rows: dict[Packet, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """What a recording says of itself: map name and date in seconds since 1970."""

    town: str
    date: int


def _text(words: str) -> bytes:
    data = words.encode(errors="surrogateescape")[:0xFFFF]
    return struct.pack("<H", len(data)) + data


def pack_head(head: Head) -> bytes:
    """Beginning of a file."""
    return struct.pack("<H", VERSION) + _text(MAGIC) + struct.pack("<q", head.date) + _text(head.town)


def _packet(kind: Packet, data: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(data)) + data


def _pack_added(row: Added) -> bytes:
    attributes = b"".join(bytes([kind]) + _text(name) + _text(content) for kind, name, content in row.attributes)
    head = _ADDED.pack(row.id, row.type, *row.place, row.uid) + _text(row.type_id)
    return head + struct.pack("<H", len(row.attributes)) + attributes


def pack_frame(frame: Frame) -> bytes:
    """All packets of one frame."""
    parts = [_packet(Packet.FRAME_START, _FRAME.pack(frame.number, frame.duration, frame.elapsed))]
    if frame.added:
        parts.append(_packet(Packet.ADD, struct.pack("<H", len(frame.added)) + b"".join(map(_pack_added, frame.added))))
    for kind, rows in sorted(frame.rows.items()):
        parts.append(_packet(kind, struct.pack("<H", len(rows)) + rows.tobytes()))
    parts.append(_packet(Packet.FRAME_END))
    return b"".join(parts)


class _Reader:
    """Takes values off the front of bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, form: struct.Struct) -> tuple[int | float, ...]:
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def text(self) -> str:
        (size,) = struct.unpack_from("<H", self.data, self.at)
        start = self.at + 2
        if start + size > len(self.data):
            raise struct.error("text runs over the end")
        self.at = start + size
        return self.data[start : self.at].decode(errors="surrogateescape")


_COUNT, _DATE, _BYTE = struct.Struct("<H"), struct.Struct("<q"), struct.Struct("<B")


def read(data: bytes) -> tuple[Head, list[Frame]]:
    """Read a recording; a last frame that was not finished is left out.

    Raises:
        ValueError: It is no recording of CARLA, or a damaged one.
    """
    reader = _Reader(data)
    try:
        reader.take(_COUNT)
        magic = reader.text()
        (date,) = reader.take(_DATE)
        head = Head(reader.text(), int(date))
    except struct.error as error:
        raise ValueError(f"the file is no CARLA recording: {error}") from None
    if magic != MAGIC:
        raise ValueError(f"the file is no CARLA recording: expected {MAGIC!r}, got {magic!r:.40}")
    try:
        return head, [*_frames(data, reader.at)]
    except (struct.error, ValueError) as error:
        raise ValueError(f"the recording is damaged: {error}") from None


def _frames(data: bytes, at: int) -> Iterator[Frame]:
    frame: Frame | None = None
    while at + _HEAD.size <= len(data):
        kind, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size > len(data):
            return
        body, at = data[at : at + size], at + size
        if kind == Packet.FRAME_START:
            number, duration, elapsed = _FRAME.unpack(body)
            frame = Frame(number, duration, elapsed)
        elif frame is None:
            continue
        elif kind == Packet.FRAME_END:
            yield frame
            frame = None
        elif kind == Packet.ADD:
            frame.added = _added(body)
        elif kind in ROWS:
            (count,) = _COUNT.unpack_from(body)
            frame.rows[Packet(kind)] = np.frombuffer(body, ROWS[Packet(kind)], count, offset=_COUNT.size)


def _added(body: bytes) -> list[Added]:
    reader = _Reader(body)
    (count,) = reader.take(_COUNT)
    found = []
    for _ in range(int(count)):
        number, kind, *place, uid = reader.take(_ADDED)
        type_id = reader.text()
        (size,) = reader.take(_COUNT)
        attributes = tuple((int(reader.take(_BYTE)[0]), reader.text(), reader.text()) for _ in range(int(size)))
        known = ActorType(int(kind)) if kind in ActorType.__members__.values() else ActorType.OTHER
        found.append(Added(int(number), known, tuple(map(float, place)), int(uid), type_id, attributes))
    return found
