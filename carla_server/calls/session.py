"""Connection, episode, map, settings and ticks."""

from __future__ import annotations

from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value, void
from carla_server.wire import streams, values
from carla_server.world.blueprints import definitions
from carla_server.world.navigation import navigation_data, navigation_file
from carla_server.world.settings import Settings
from carla_server.world.towns import OPENDRIVE_MAP
from carla_server.world.world import WorldError

VERSION = "0.9.16"

_definitions = definitions()


@value()
def version(simulator: Simulator, session: Session) -> str:
    """Version of CARLA whose protocol this is."""
    return VERSION


@value()
def get_available_maps(simulator: Simulator, session: Session) -> list[str]:
    """Names of all towns, as CARLA writes them."""
    return [f"/Game/Carla/Maps/{name}" for name in simulator.world.library.names()]


@void()
def load_new_episode(
    simulator: Simulator, session: Session, name: Any, reset: Any = True, layers: Any = 0xFFFF
) -> None:
    """Begin a new episode.

    Nobody may see it on a subscription made before: the client's Traffic Manager would reset itself while the client
    reconnects and take the process down.
    """
    # `reload_world` names no map: it means the present one.
    wanted = values.text(name) or simulator.world.road_map.name
    simulator.world.load(wanted, values.boolean(reset))
    simulator.forget_world_stream = True


@void()
def load_map_layer(simulator: Simulator, session: Session, layers: Any) -> None:
    """Towns are drawn whole; accepted without effect."""


@void()
def unload_map_layer(simulator: Simulator, session: Session, layers: Any) -> None:
    """Towns are drawn whole; accepted without effect."""


@void()
def copy_opendrive_to_file(simulator: Simulator, session: Session, xodr: Any, parameters: Any = None) -> None:
    """Keep an OpenDRIVE text for `load_new_episode("OpenDriveMap")`."""
    simulator.world.library.keep_opendrive(values.text(xodr))


@value()
def get_episode_info(simulator: Simulator, session: Session) -> list[Any]:
    """Episode id and the token of the world-state stream."""
    world = simulator.world
    return [world.episode, [streams.token(streams.WORLD_STREAM, world.port)]]


@value()
def get_map_info(simulator: Simulator, session: Session) -> list[Any]:
    """Name of the map and where vehicles may be spawned."""
    road_map = simulator.world.road_map
    points = [[[row.x, row.y, row.z], [row.pitch, row.yaw, row.roll]] for row in road_map.spawn_points]
    name = road_map.name if road_map.name == OPENDRIVE_MAP else f"Carla/Maps/{road_map.name}"
    return [name, points]


@value()
def get_map_data(simulator: Simulator, session: Session) -> str:
    """OpenDRIVE text of the map."""
    return simulator.world.road_map.xodr


@value()
def get_required_files(simulator: Simulator, session: Session, folder: Any = "") -> list[str]:
    """Files the client should download: the town's navigation mesh. It gets the map by `get_map_data`."""
    name = navigation_file(simulator.world.road_map) if values.text(folder) == "Nav" else None
    return [] if name is None else [name]


@value()
def request_file(simulator: Simulator, session: Session, name: Any) -> bytes:
    """A file announced by `get_required_files`."""
    town = simulator.world.road_map
    if values.text(name) != navigation_file(town):
        raise WorldError(f"there is no file {name!r}; get_required_files names those there are")
    return navigation_data(town)


@value()
def get_navigation_mesh(simulator: Simulator, session: Session) -> bytes:
    """Navigation mesh of the town's sidewalks, crosswalks and roads; empty if it has none."""
    return navigation_data(simulator.world.road_map)


@value()
def get_episode_settings(simulator: Simulator, session: Session) -> list[Any]:
    """Settings in force."""
    return simulator.world.settings.wire


@value()
def set_episode_settings(simulator: Simulator, session: Session, settings: Any) -> int:
    """Put settings in force; returns the present frame, which the client waits for."""
    simulator.world.settings = Settings.read(settings)
    return simulator.world.frame


@value()
def tick_cue(simulator: Simulator, session: Session) -> int:
    """Advance one tick; returns its frame."""
    frame = simulator.world.tick()
    return frame


@value()
def get_actor_definitions(simulator: Simulator, session: Session) -> list[Any]:
    """All blueprints."""
    return _definitions


@value()
def get_spectator(simulator: Simulator, session: Session) -> list[Any]:
    """The spectator, an actor that a client may place."""
    return simulator.world.spectator.wire()


@value()
def get_sensor_token(simulator: Simulator, session: Session, stream: Any) -> list[Any]:
    """Where a stream is served. The subscription follows at once; ticks wait for it."""
    number = values.unsigned(stream)
    if number == streams.WORLD_STREAM or any(row.stream == number for row in simulator.world.actors.values()):
        simulator.announce(number, session)
    return [streams.token(number, simulator.world.port)]


@value()
def console_command(simulator: Simulator, session: Session, command: Any) -> bool:
    """There is no console; says so."""
    values.text(command)
    return False
