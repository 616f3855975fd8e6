"""Recordings come back as they were written, whole or cut off."""

from __future__ import annotations

import numpy as np
import pytest

from carla_server.wire import recording
from carla_server.wire.recording import ActorType, Added, Frame, Head, Packet

HEAD = Head("Carla/Maps/Mini01", 1_700_000_000)
CAR = Added(
    24, ActorType.VEHICLE, (100.0, -250.0, 30.0, 0.0, 1.5, 90.0), 7, "vehicle.audi.tt", ((4, "role_name", "x"),)
)


def frame(number: int) -> Frame:
    positions = np.array([(24, (1.0, 2.0, 3.0), (0.0, 5.0, 90.0))], recording.ROWS[Packet.POSITION])
    lights = np.array([(3, 1, 2.5, 2)], recording.ROWS[Packet.LIGHT_STATE])
    rows = {Packet.POSITION: positions, Packet.LIGHT_STATE: lights}
    return Frame(number, 0.05, 0.05 * number, [CAR] if number == 1 else [], rows)


DATA = recording.pack_head(HEAD) + b"".join(recording.pack_frame(frame(number)) for number in (1, 2, 3))


def test_what_was_written_is_read() -> None:
    head, frames = recording.read(DATA)
    assert head == HEAD
    assert [row.number for row in frames] == [1, 2, 3]
    assert frames[0].added == [CAR]
    for row in frames:
        for kind, rows in frame(row.number).rows.items():
            np.testing.assert_array_equal(row.rows[kind], rows)


def test_layout_is_that_of_the_documentation() -> None:
    # Version, length of the magic words, the words; then, after date and map, packet 0 of 24 bytes begins frame 1.
    assert DATA[:18] == b"\x01\x00\x0e\x00CARLA_RECORDER"
    start = 18 + 8 + 2 + len(HEAD.town)
    assert DATA[start : start + 13] == b"\x00\x18\x00\x00\x00" + (1).to_bytes(8, "little")


def test_a_recording_that_was_cut_off_holds_its_whole_frames() -> None:
    sizes = {len(recording.read(DATA[:size])[1]) for size in range(60, len(DATA))}
    assert sizes == {0, 1, 2}


@pytest.mark.parametrize("data", [b"", b"\x01\x00\x03\x00abc", b"PK\x03\x04" * 20])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no CARLA recording"):
        recording.read(data)


@pytest.mark.parametrize("packet", [b"\x00" * 5, bytes([Packet.ADD]) + b"\x02\x00\x00\x00\x01\x00"])
def test_a_damaged_recording_is_told_from_one_that_was_cut_off(packet: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        recording.read(DATA[:-5] + packet)
