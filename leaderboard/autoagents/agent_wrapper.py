"""Puts an agent into a route: loads its file, mounts its sensors, calls it once per tick, takes everything down."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import carla
import numpy as np

from leaderboard.autoagents.autonomous_agent import AutonomousAgent
from leaderboard.autoagents.sensor_rules import (
    MAP_SENSOR,
    PSEUDO_SENSORS,
    SPEEDOMETER,
    SensorSpec,
    blueprint_attributes,
    period_ticks,
)
from leaderboard.envs.sensor_interface import CallBack
from leaderboard.rules import Rules
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from srunner.scenariomanager.timer import GameTime

AGENT_METHODS = ("setup", "sensors", "set_global_plan", "destroy")
"""What the evaluator calls; `AutonomousAgent` has them all."""

WARM_UP_TICKS = 10
"""Ticks after the sensors were mounted whose data no agent sees."""


class AgentShape(Enum):
    """Which arguments an agent's methods take."""

    OFFICIAL = "official"
    """CARLA Leaderboard 2 and Bench2Drive: constructor (host, port, debug), ``setup(config)``."""
    FIRST = "first"
    """CARLA Leaderboard 1: constructor (config), which calls ``setup(config)`` itself; the plan comes afterwards."""
    COLLECTION = "collection"
    """PDM-Lite: constructor (config, route index), ``setup(config, route date string, traffic manager)``."""


class AgentLoadError(Exception):
    """An agent's file cannot be used."""


def load_agent_class(path: str | Path) -> type[AutonomousAgent]:
    """Import an agent's file and return the class that its ``get_entry_point()`` names.

    The file's folder is put first on the module path, so that agents find their helpers beside them.

    Raises:
        AgentLoadError: If there is no such file, it cannot be imported or it has no usable entry point.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise AgentLoadError(f"no agent file {file}; pass the path of a Python file that defines get_entry_point()")
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    module = _import(file)
    entry_point = getattr(module, "get_entry_point", None)
    if entry_point is None:
        raise AgentLoadError(f"{file} must define get_entry_point(), which returns the name of its agent class")
    with _loading(file, "get_entry_point() raises"):
        name = entry_point()
    agent_class = getattr(module, name, None) if isinstance(name, str) else None
    if not isinstance(agent_class, type):
        raise AgentLoadError(f"{file}: get_entry_point() names {name!r}, but the file defines no such class")
    lacking = [method for method in AGENT_METHODS if not callable(getattr(agent_class, method, None))]
    if lacking:
        raise AgentLoadError(
            f"{file}: {name} is no agent, it lacks {', '.join(lacking)}; derive it from AutonomousAgent"
        )
    return agent_class


@contextmanager
def _loading(file: Path, what: str) -> Iterator[None]:
    """Whatever an agent's file raises while it is loaded, an exit included, as an `AgentLoadError`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AgentLoadError(f"{file}: {what} {type(error).__name__}: {error}") from error


def _import(file: Path) -> ModuleType:
    name = file.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return loaded
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise AgentLoadError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _loading(file, "importing it raises"):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


def agent_shape(agent_class: type) -> AgentShape:
    """Recognise an agent's shape by its arguments.

    Only in the collection shape does ``setup`` take three; only in that of Leaderboard 1 does the constructor take one. An agent
    of Leaderboard 1 without a constructor of its own fits the official shape.
    """
    parameters = list(inspect.signature(agent_class.setup).parameters.values())[1:]  # type: ignore[attr-defined]
    is_variadic = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    if len(parameters) >= 3 and not is_variadic:
        return AgentShape.COLLECTION
    constructor = list(inspect.signature(agent_class).parameters.values())
    takes_one = len(constructor) == 1 and constructor[0].kind is not inspect.Parameter.VAR_POSITIONAL
    return AgentShape.FIRST if takes_one else AgentShape.OFFICIAL


class AgentWrapper:
    """One agent on one route."""

    def __init__(self, agent: AutonomousAgent, shape: AgentShape, rules: Rules):
        self.agent = agent
        self._shape = shape
        self._rules = rules
        self._sensors: list[list[Any]] = []
        self._pseudo: list[SensorSpec] = []
        self._map_reading: dict[str, str] | None = None
        self._ego: carla.Vehicle | None = None

    def mount_sensors(self, ego: carla.Vehicle, specs: Sequence[SensorSpec]) -> None:
        """Spawn the agent's sensors on the ego and let the simulator run for `WARM_UP_TICKS` ticks.

        A sensor with a ``sensor_tick`` of n ticks, n a divisor of `WARM_UP_TICKS`, measures on the agent's first call and every
        n-th call after it.
        """
        world = CarlaDataProvider.get_world()
        self._ego = ego
        self.agent.sensor_interface.wait_s = self._rules.sensor_wait_s
        for spec in specs:
            if spec["type"] in PSEUDO_SENSORS:
                self._pseudo.append(spec)
                continue
            blueprint = world.get_blueprint_library().find(spec["type"])
            for name, value in blueprint_attributes(spec, self._rules).items():
                blueprint.set_attribute(name, value)
            sensor = world.spawn_actor(blueprint, _mount(spec), attach_to=ego)
            self._sensors.append([spec["id"], sensor])
            period = period_ticks(spec, self._rules)
            sensor.listen(CallBack(spec["id"], spec["type"], sensor, self.agent.sensor_interface, period))
        for spec in self._pseudo:
            self.agent.sensor_interface.register_sensor(spec["id"], spec["type"], None)
        for _ in range(WARM_UP_TICKS):
            world.tick()

    def __call__(self) -> carla.VehicleControl:
        """The agent's control for this tick, from the data of this tick."""
        for spec in self._pseudo:
            value = self._read_pseudo(spec["type"])
            self.agent.sensor_interface.update_sensor(spec["id"], value, GameTime.get_frame())
        return self.agent(self._sensors) if self._shape is AgentShape.COLLECTION else self.agent()

    @property
    def waited_ms(self) -> float:
        """Wall time for which the last call waited for sensor data, milliseconds."""
        return self.agent.sensor_interface.waited_ms

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Stages of the last call in the agent's own words, milliseconds; empty for agents that do not tell."""
        told = getattr(self.agent, "stage_ms", None)
        return told if isinstance(told, Mapping) else {}

    def _read_pseudo(self, sensor_type: str) -> dict[str, Any]:
        if sensor_type == MAP_SENSOR:
            if self._map_reading is None:
                self._map_reading = {"opendrive": CarlaDataProvider.get_map().to_opendrive()}
            return dict(self._map_reading)
        if sensor_type == SPEEDOMETER and self._ego is not None:
            return {"speed": forward_speed(self._ego)}
        raise ValueError(f"{sensor_type!r} is not a sensor that the evaluator computes")

    def unmount_sensors(self) -> None:
        """Stop and destroy the sensors."""
        for _, sensor in self._sensors:
            if sensor.is_listening():
                sensor.stop()
            sensor.destroy()
        self._sensors = []


def _mount(spec: SensorSpec) -> carla.Transform:
    location = carla.Location(*(float(spec[axis]) for axis in "xyz"))
    angles = {name: float(spec.get(name, 0.0)) for name in ("roll", "pitch", "yaw")}
    if spec["type"] == "sensor.other.gnss":
        angles = {}
    return carla.Transform(location, carla.Rotation(**angles))


def forward_speed(actor: carla.Actor) -> float:
    """Speed along the vehicle's axis, m/s; pitch and yaw count, roll does not matter."""
    velocity, rotation = actor.get_velocity(), actor.get_transform().rotation
    pitch, yaw = np.deg2rad(rotation.pitch), np.deg2rad(rotation.yaw)
    axis = (np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch))
    return float(velocity.x * axis[0] + velocity.y * axis[1] + velocity.z * axis[2])
