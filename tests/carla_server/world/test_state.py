"""The table of actors."""

from __future__ import annotations

from carla_server.world.state import ActorRows, Kind


def test_a_table_that_grows_keeps_its_rows_and_has_room_in_every_column() -> None:
    rows = ActorRows(capacity=2)
    taken = [rows.take(number, Kind.VEHICLE) for number in range(1, 8)]
    for row in taken:
        rows.put(row, (10.0 * row, -row, 0.5, 0.0, 90.0 + row, 0.0))
    assert taken == [*range(7)]
    assert rows.trail[:7].tolist() == [[10.0 * row, -row, 90.0 + row] for row in taken]
    assert rows.motion[:7, 4].tolist() == [90.0 + row for row in taken]
    rows.release(3)
    again = rows.take(8, Kind.PROP)
    assert again == 3
    assert not rows.trail[3].any()
    assert not rows.motion[3].any()
