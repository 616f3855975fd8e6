"""Fast indented JSON is the standard library's, byte for byte."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driving.json_text import indented_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


@given(VALUES, st.integers(0, 5))
def test_it_is_the_text_of_the_standard_library(value, indent):
    assert indented_json(value, indent) == json.dumps(value, indent=indent).encode()


@pytest.mark.parametrize(
    "value", [[], {}, [[], {}], {"a": [{}, 1]}, 'quoted "[,"', ["[1,", "]"], "ü", "\\", "back\\\\", 0]
)
def test_signs_in_strings_and_empty_lists_break_no_lines(value):
    assert indented_json(value) == json.dumps(value, indent=4).encode()


def test_numbers_that_json_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        indented_json([float("nan")])
