"""Typed parameters of scenarios, read from the attribute texts of a route file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import carla


class ParameterError(ValueError):
    """A scenario's parameters cannot be read."""


@dataclass(frozen=True)
class Parameter:
    """One child element of a ``<scenario>``.

    Attributes:
        name: Tag of the element.
        kind: ``number`` and ``text`` are ``<p value="…"/>``, ``interval`` is ``<p from="…" to="…"/>``, ``place`` is
            ``<p x="…" y="…" z="…"/>``.
        default: Value without the element.
        choices: Texts that are allowed; empty allows all.
        required: Whether a file without the element is wrong.
        unit: For messages and documentation.
    """

    name: str
    kind: str
    default: Any = None
    choices: tuple[str, ...] = ()
    required: bool = False
    unit: str = ""


def number(name: str, default: float, unit: str = "m") -> Parameter:
    """A float parameter; integers and strings such as ``44.3`` are read alike."""
    return Parameter(name, "number", default, unit=unit)


def interval(name: str, default: tuple[float, float], unit: str = "m") -> Parameter:
    """A (from, to) parameter."""
    return Parameter(name, "interval", default, unit=unit)


def place(name: str, required: bool = True) -> Parameter:
    """A location in the world frame."""
    return Parameter(name, "place", required=required)


def text(name: str, default: str, choices: Sequence[str] = ()) -> Parameter:
    """A word, one of ``choices`` if there are any."""
    return Parameter(name, "text", default, tuple(choices))


SIDE = text("direction", "right", ("left", "right"))


def _float(parameter: Parameter, attributes: Mapping[str, str], key: str) -> float:
    raw = attributes.get(key)
    try:
        value = float(raw) if raw is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ParameterError(f'{parameter.name}: expected a finite number in {key}="…", got {dict(attributes)}')
    return value


def _read_one(parameter: Parameter, attributes: Mapping[str, str]) -> Any:
    if parameter.kind == "number":
        return _float(parameter, attributes, "value")
    if parameter.kind == "interval":
        low, high = _float(parameter, attributes, "from"), _float(parameter, attributes, "to")
        return min(low, high), max(low, high)
    if parameter.kind == "place":
        return carla.Location(*(_float(parameter, attributes, axis) for axis in "xyz"))
    value = attributes.get("value", "")
    if parameter.choices and value not in parameter.choices:
        raise ParameterError(f"{parameter.name}: expected one of {', '.join(parameter.choices)}, got {value!r}")
    return value


def read_parameters(
    parameters: Sequence[Parameter], given: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Any], list[str]]:
    """Values of all parameters of a type.

    Args:
        parameters: What the type knows.
        given: Attribute texts by tag.

    Returns:
        Values by name, defaults included, and one sentence for every element nobody reads.

    Raises:
        ParameterError: Naming every parameter that is missing or cannot be read.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for parameter in parameters:
        values[parameter.name] = parameter.default
        if parameter.name in given:
            try:
                values[parameter.name] = _read_one(parameter, given[parameter.name])
            except ParameterError as error:
                problems.append(str(error))
        elif parameter.required:
            problems.append(f"{parameter.name} is missing")
    if problems:
        raise ParameterError("; ".join(problems))
    known = [parameter.name for parameter in parameters]
    return values, [_unknown(name, known) for name in given if name not in known]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"parameter {name} is not read" + (f"; did you mean {near[0]}?" if near else "")
