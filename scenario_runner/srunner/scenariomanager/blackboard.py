"""Process-wide notes between criteria, scenarios and the evaluator, on py_trees' blackboard.

The keys are those of CARLA's scenario runner, so criteria and agents written for it find what they look for.
"""

from __future__ import annotations

from typing import Any

import py_trees

CONTROL = "AV_control"
"""The ego's last control, a `carla.VehicleControl`, written by the evaluator in every tick."""

WRONG_DIRECTION_SWITCH = "AC_SwitchWrongDirectionTest"
"""True or False asks the route-lane criterion to count wrong-direction driving or not; the criterion sets it to None."""

BLOCKED_SWITCH = "AC_SwitchActorBlockedTest"
"""True or False switches the blocked criterion and restarts its clock; the criterion sets it to None."""


def timeout_key(scenario_name: str) -> str:
    """Key under which a scenario notes whether it ran out of time."""
    return f"ScenarioTimeout_{scenario_name}"


def get(name: str, default: Any = None) -> Any:
    """Value under ``name``, or ``default`` if nobody wrote it."""
    return py_trees.blackboard.Blackboard.storage.get(f"/{name.lstrip('/')}", default)


def set(name: str, value: Any) -> None:
    """Write ``value`` under ``name``."""
    key = f"/{name.lstrip('/')}"
    if key in py_trees.blackboard.Blackboard.storage:
        py_trees.blackboard.Blackboard.storage[key] = value
    else:
        py_trees.blackboard.Blackboard.set(name, value)


def clear() -> None:
    """Forget everything: between routes, so that none sees notes of the one before."""
    py_trees.blackboard.Blackboard.clear()
