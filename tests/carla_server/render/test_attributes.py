"""Laws of the reader of blueprint attributes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carla_server.sensors.attributes import camera_spec, number, whole

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, FINITE, FINITE)
def test_a_number_within_its_bounds_is_read_to_the_last_bit(value: float, one: float, other: float) -> None:
    least, most = sorted((one, other))
    if least <= value <= most:
        assert number({"range": repr(value)}, "range", least=least, most=most) == value
    else:
        with pytest.raises(ValueError, match="range must be a number at least"):
            number({"range": repr(value)}, "range", least=least, most=most)


@pytest.mark.parametrize("text", ["", "far", "nan", "inf", "-1e999", "1,5"])
def test_what_is_no_number_is_told_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^range must be a number above 0 and at most 5, got '.*'; set another"):
        number({"range": text}, "range", 3.0, above=0.0, most=5.0)


def test_what_is_not_given_has_its_default() -> None:
    assert number({}, "range", 3.0, above=5.0) == 3.0
    assert whole({"channels": "32.7"}, "channels") == 32
    spec = camera_spec({"image_size_x": "320.0"})
    assert (spec.width, spec.height, spec.fov_deg) == (320, 600, 90.0)


def test_a_bound_that_is_too_small_itself_is_refused() -> None:
    assert number({"range": "0"}, "range", least=0.0) == 0.0
    with pytest.raises(ValueError, match="above 0"):
        number({"range": "0"}, "range", above=0.0)
