"""Traffic lights, signs, stop lines and crosswalks at the mouths of junctions."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from carla_server.map.generator.crossings import lanes_in
from carla_server.map.generator.document import ControllerSpec, RoadSpec, element
from carla_server.map.generator.plan import Control, Node, Profile
from carla_server.map.generator.streets import Arm, kerb_width

#: Distances from the mouth of a junction back along the arm, metres.
CROSSWALK_NEAR, CROSSWALK_FAR, STOP_LINE, BARE_STOP_LINE, LIGHT_POST = 0.8, 3.8, 5.0, 1.2, 0.4
#: Size of things, metres.
STOP_LINE_LENGTH, LIGHT_HEIGHT, SIGN_HEIGHT = 0.4, 5.2, 2.2
#: Two arms whose directions differ by more than this get green together, radians.
FACING = math.radians(150.0)


@dataclass
class Ids:
    """Hands out ids for signals, objects and controllers; their ranges never meet those of roads and junctions."""

    signals: Iterator[int]
    objects: Iterator[int]
    controllers: Iterator[int]


def regulate(node: Node, arms: list[Arm], roads: dict[int, RoadSpec], ids: Ids) -> list[ControllerSpec]:
    """Write crosswalks, stop lines, signs and lights of a node into the arms' roads; returns its controllers."""
    lights: dict[int, int] = {}
    for arm in arms:
        road = roads[arm.road]
        walkable = node.crosswalks and any(place.type == "sidewalk" for place in (*arm.incoming, *arm.outgoing))
        has_crosswalk = walkable and node.control is not Control.FREE
        if has_crosswalk:
            road.objects.append(_crosswalk(arm, road, next(ids.objects)))
        if not lanes_in(arm) or node.control is Control.FREE:
            continue
        distance = STOP_LINE if has_crosswalk else BARE_STOP_LINE
        is_minor = arm.street.name in node.minor
        if node.control is Control.SIGNALS:
            line = _stop_line(arm, road, distance, next(ids.objects))
            lights[arm.road] = next(ids.signals)
            road.objects.append(line)
            road.signals.append(_light(arm, road, lights[arm.road], line))
        elif node.control is Control.ALL_WAY_STOP or is_minor:
            line = _stop_line(arm, road, distance, next(ids.objects))
            road.objects.append(line)
            road.signals.append(_sign(arm, road, next(ids.signals), line, node.control, distance))
    return _controllers(node, arms, lights, ids)


def _controllers(node: Node, arms: list[Arm], lights: dict[int, int], ids: Ids) -> list[ControllerSpec]:
    groups: list[list[Arm]] = []
    for arm in (arm for arm in arms if arm.road in lights):
        for group in groups:
            change = (arm.mouth.heading - group[0].mouth.heading + math.pi) % (2 * math.pi) - math.pi
            if len(group) == 1 and abs(change) > FACING:
                group.append(arm)
                break
        else:
            groups.append([arm])
    return [
        ControllerSpec(next(ids.controllers), f"{node.name} phase {place}", place, [lights[arm.road] for arm in group])
        for place, group in enumerate(groups)
    ]


def _station(arm: Arm, road: RoadSpec, distance: float) -> float:
    """Distance along the road of a place `distance` metres before the mouth."""
    return road.curve.length - distance if arm.at_end else distance


def _entering_sign(arm: Arm) -> int:
    """Sign of lateral positions on the side where traffic enters: -1 right of the reference line, +1 left."""
    return -1 if arm.at_end else 1


def _crosswalk(arm: Arm, road: RoadSpec, key: int) -> ET.Element:
    entering, leaving = (kerb_width(side) for side in _sides(arm))
    sign = _entering_sign(arm)
    near, far = sorted((sign * entering, -sign * leaving))
    depth = CROSSWALK_FAR - CROSSWALK_NEAR
    node = element(
        "object",
        id=key,
        name="Crosswalk",
        type="crosswalk",
        s=_station(arm, road, 0.5 * (CROSSWALK_NEAR + CROSSWALK_FAR)),
        t=0.5 * (near + far),
        zOffset=0.0,
        hdg=0.0,
        pitch=0.0,
        roll=0.0,
        orientation="none",
        length=depth,
        width=far - near,
        height=0.0,
    )
    outline = ET.SubElement(node, "outline")
    u, v = 0.5 * depth, 0.5 * (far - near)
    for corner in ((u, v), (-u, v), (-u, -v), (u, -v), (u, v)):
        outline.append(element("cornerLocal", u=corner[0], v=corner[1], z=0.0, height=0.0))
    return node


def _sides(arm: Arm) -> tuple[tuple, tuple]:
    profile: Profile = arm.profile
    return (profile.right, profile.left) if arm.at_end else (profile.left, profile.right)


def _traffic_span(arm: Arm) -> tuple[float, float]:
    """Inner and outer edge of the lanes that enter, metres from the reference line."""
    places = [place for place in arm.incoming if place.type in ("driving", "biking")]
    return places[0].inner, places[-1].inner + places[-1].width


def _stop_line(arm: Arm, road: RoadSpec, distance: float, key: int) -> ET.Element:
    inner, outer = _traffic_span(arm)
    return element(
        "object",
        id=key,
        name="StopLine",
        type="roadMark",
        subtype="stopLine",
        s=_station(arm, road, distance),
        t=_entering_sign(arm) * 0.5 * (inner + outer),
        zOffset=0.0,
        hdg=0.0,
        pitch=0.0,
        roll=0.0,
        orientation="+" if arm.at_end else "-",
        length=STOP_LINE_LENGTH,
        width=outer - inner - 0.3,
        height=0.0,
    )


def _signal(arm: Arm, key: int, name: str, kind: str, s: float, t: float, z: float, **more: object) -> ET.Element:
    return element(
        "signal",
        name=name,
        id=key,
        s=s,
        t=t,
        zOffset=z,
        hOffset=0.0 if arm.at_end else math.pi,
        roll=0.0,
        pitch=0.0,
        orientation="+" if arm.at_end else "-",
        country="OpenDRIVE",
        type=kind,
        subtype="-1",
        **more,
    )


def _governs(signal: ET.Element, arm: Arm, line: ET.Element | None) -> ET.Element:
    ids = [place.lane for place in arm.incoming if place.type in ("driving", "biking")]
    signal.append(element("validity", fromLane=min(ids), toLane=max(ids)))
    if line is not None:
        signal.append(
            element("reference", elementType="object", elementId=line.attrib["id"], type=line.attrib["subtype"])
        )
    return signal


def _post(arm: Arm, beyond_kerb: float) -> float:
    return _entering_sign(arm) * (kerb_width(_sides(arm)[0]) + beyond_kerb)


def _light(arm: Arm, road: RoadSpec, key: int, line: ET.Element) -> ET.Element:
    inner, outer = _traffic_span(arm)
    post = _post(arm, 0.7)
    signal = _signal(
        arm,
        key,
        "Signal_3Light_Post01",
        "1000001",
        _station(arm, road, LIGHT_POST),
        post,
        LIGHT_HEIGHT,
        dynamic="yes",
        value=-1,
        height=1.0,
        width=0.35,
    )
    # Length of the mast arm that carries the lamps from the post over the middle of the entering lanes.
    signal.append(element("userData", code="armLength", value=abs(post) - 0.5 * (inner + outer)))
    return _governs(signal, arm, line)


def _sign(arm: Arm, road: RoadSpec, key: int, line: ET.Element, control: Control, distance: float) -> ET.Element:
    name, kind = ("Sign_Yield", "205") if control is Control.YIELD else ("Sign_Stop", "206")
    s = _station(arm, road, distance)
    post = _post(arm, 0.7)
    signal = _signal(arm, key, name, kind, s, post, SIGN_HEIGHT, dynamic="no", value=-1, height=0.8, width=0.8)
    return _governs(signal, arm, line)


def speed_sign(arm: Arm, road: RoadSpec, key: int) -> ET.Element:
    """Speed limit sign for traffic that leaves the junction through `arm`, 12 m beyond the mouth."""
    limit = arm.profile.speed_kmh
    sign = -_entering_sign(arm)
    node = element(
        "signal",
        name=f"Speed_{limit}",
        id=key,
        s=_station(arm, road, 12.0),
        t=sign * (kerb_width(_sides(arm)[1]) + 0.7),
        zOffset=SIGN_HEIGHT,
        hOffset=math.pi if arm.at_end else 0.0,
        roll=0.0,
        pitch=0.0,
        orientation="-" if arm.at_end else "+",
        country="OpenDRIVE",
        type="274",
        subtype=str(limit),
        dynamic="no",
        value=limit,
        unit="km/h",
        height=0.8,
        width=0.8,
    )
    ids = [place.lane for place in arm.outgoing if place.type == "driving"]
    node.append(element("validity", fromLane=min(ids), toLane=max(ids)))
    return node
