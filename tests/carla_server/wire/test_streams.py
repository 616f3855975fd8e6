"""Binary layouts, checked field by field at the offsets that the client reads."""

from __future__ import annotations

import struct

import numpy as np

from carla_server.wire import streams


def test_one_actor_takes_119_bytes_with_every_field_where_the_client_reads_it() -> None:
    row = np.zeros(1, streams.ACTOR_STATE)
    row["id"], row["state"] = 0x01020304, 1
    row["motion"] = np.arange(15)
    row["controls"] = (0.1, 0.2, 0.3)
    row["gear"], row["speed_limit"], row["light_state"] = -1, 50.0, 2
    row["has_light"], row["light_id"], row["failure"] = 1, 77, 3
    data = row.tobytes()
    assert len(data) == 119
    assert struct.unpack_from("<IB15f", data) == (0x01020304, 1, *map(float, range(15)))
    np.testing.assert_allclose(struct.unpack_from("<3f", data, 65), (0.1, 0.2, 0.3), rtol=1e-6)
    assert struct.unpack_from("<ifB", data, 80) == (-1, 50.0, 2)
    assert struct.unpack_from("<BIB", data, 89) == (1, 77, 3)


def test_lights_share_the_bytes_of_vehicles() -> None:
    row = np.zeros(1, streams.ACTOR_STATE)
    row["signal_id"], row["green_time"], row["pole"], row["frozen"], row["lamp"] = b"42", 10.0, 5, 1, 2
    data = row.tobytes()
    assert data[65:97] == b"42".ljust(32, b"\0")
    assert struct.unpack_from("<f", data, 97) == (10.0,)
    assert struct.unpack_from("<IBB", data, 113) == (5, 1, 2)


def test_world_state_head_is_84_bytes() -> None:
    rows = np.zeros(2, streams.ACTOR_STATE)
    message = streams.world_state(frame=9, time_s=0.45, episode=3, delta_s=0.05, flags=1, actors=rows.tobytes())
    assert len(message) == 48 + 36 + 2 * 119
    assert struct.unpack_from("<QQd", message) == (17, 9, 0.45)
    episode, _, delta = struct.unpack_from("<Qdf", message, 48)
    assert (episode, delta) == (3, np.float32(0.05))
    assert struct.unpack_from("<I", message, 80) == (1,)


def test_token_names_stream_and_port_and_leaves_the_address_to_the_client() -> None:
    data = streams.token(5, 2001)
    assert len(data) == 24
    assert struct.unpack_from("<IHBB", data) == (5, 2001, 1, 0)
