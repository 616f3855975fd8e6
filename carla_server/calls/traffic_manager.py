"""Registry of Traffic Managers: they run inside clients, and clients find one another's through the server."""

from __future__ import annotations

from typing import Any

from carla_server.calls.simulator import Session, Simulator
from carla_server.calls.table import value
from carla_server.wire import values


@value()
def is_traffic_manager_running(simulator: Simulator, session: Session, port: Any) -> bool:
    """Whether a Traffic Manager listens on a port."""
    return values.unsigned(port) in simulator.managers


@value()
def get_traffic_manager_running(simulator: Simulator, session: Session, port: Any) -> list[Any]:
    """Its address; an empty one if there is none."""
    number = values.unsigned(port)
    return [simulator.managers[number][0], number] if number in simulator.managers else ["", 0]


@value()
def add_traffic_manager_running(simulator: Simulator, session: Session, endpoint: Any) -> bool:
    """Enter the Traffic Manager of a client; False if the port is taken."""
    address, port = values.array(endpoint, 2)[:2]
    number = values.unsigned(port)
    if number in simulator.managers:
        return False
    simulator.managers[number] = (values.text(address), session)
    session.managers.add(number)
    return True


@value()
def destroy_traffic_manager(simulator: Simulator, session: Session, port: Any) -> bool:
    """Remove an entry; whether there was one."""
    number = values.unsigned(port)
    _, owner = simulator.managers.pop(number, ("", session))
    known = number in owner.managers
    owner.managers.discard(number)
    return known
