"""Every mode, instruction and refusal of dreams, and every bucket, has a hand-built scene."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dataset_generation import buckets
from dataset_generation.buckets import CONDITIONS, VANISHED, bucket_run
from dataset_generation.dreaming import instructions, labeller, modes, report, verdicts
from dataset_generation.dreaming.instructions import CANONICAL, CONTINUE, WORDERS
from dataset_generation.dreaming.labeller import DreamLabeller
from dataset_generation.language_labels.profiles import CORRECTED, PARITY, Profile
from dataset_generation.language_labels.route_data import RouteData
from driving.files import read_json
from driving.records import LandmarkBox, LaneWidth, StaticBox
from tests.dataset_generation.dreaming.conftest import pose, recorder
from tests.dataset_generation.language_labels.commentary_scenes import caused_by, caused_by_type
from tests.dataset_generation.language_labels.conftest import ROUTE
from tests.dataset_generation.language_labels.lines import untaken
from tests.dataset_generation.language_labels.vqa_scenes import BESIDE_ROUTE, bicycle, car, cone, sign, walker, warning

MODES = {*WORDERS, "route"}
Record = Callable[..., RouteData]
Scenes = dict[str, dict[str, Any]]


def ahead_at(distance: float, **changes: Any) -> Callable[[int], list[Any]]:
    """A red car that keeps its distance."""
    return lambda number: [car(distance, **changes)]


def stands(x: float, y: float = 0.0, speed: float = 8.0) -> Callable[[int], list[Any]]:
    """A red car that stands while the ego comes nearer."""
    return lambda number: [car(x - speed * 0.25 * number, y, speed=0.0)]


def prop(kind: str, x: float, y: float, **changes: Any) -> StaticBox:
    """A thing beside the road."""
    position = [x, y, 0.0]
    return StaticBox(
        type_id=kind, extent=[0.4, 0.4, 0.5], position=position, distance=(x * x + y * y) ** 0.5, **changes
    )


def mark(name: str, x: float) -> LandmarkBox:
    """Something painted on the road."""
    return LandmarkBox(name=name, id=400 + int(x), position=[x, 0.0, 0.0], distance=x)


TWO_LANES = {"num_lanes_same_direction": 2, "lane_change": 1}
WIDE = {
    "num_lanes_same_direction": 4, "ego_lane_number": 1, "num_lanes_opposite_direction": 1, "lane_change": 3,
    "parking_left": True, "parking_right": True, "sidewalk_left": True, "sidewalk_right": True,
}  # fmt: skip
SLOW = {"speed": 7.0}

DREAMS: Scenes = {
    "calm": {},
    "standing": {"speed": 0.0},
    "fast": {"speed": 13.5},
    "slower than wanted": {"speed": 4.0, "measurement": {"target_speed": 9.0}},
    "leader": {"boxes": ahead_at(12.0)},
    "standing car": {"boxes": stands(22.0)},
    "standing cars beside": {"boxes": stands(20.0, 3.0)},
    "child on the road": {"boxes": lambda n: [walker(16.0 - 2.0 * n, 0.5, age="child")]},
    "pedestrian close by": {"boxes": [walker(4.0, 4.0)], "speed": 2.0},
    "two lanes": {"road": TWO_LANES, **SLOW},
    "wide road": {"road": WIDE, **SLOW},
    "wide road, fast": {"road": WIDE},
    "parking lane and sidewalk": {
        "road": {
            "parking_right": True, "sidewalk_right": True, "lane_change": 1, "num_lanes_opposite_direction": 0,
            "right_lanes": [LaneWidth("Parking", 2.0), LaneWidth("Sidewalk", 1.5)],
        },
        **SLOW,
    },
    "forbidden lane": {"road": {**TWO_LANES, "lane_change": 0}, **SLOW},
    "shoulder": {
        "road": {**TWO_LANES, "right_lanes": [LaneWidth("Shoulder", 0.5), LaneWidth("Driving", 3.5)]}, **SLOW,
    },
    "red light": {
        "speed": 2.0,
        "road": {"traffic_light_state": "Red", "distance_to_junction": 8.0},
        "measurement": {"speed_reduced_by_obj_type": "traffic.traffic_light", "speed_reduced_by_obj_distance": 8.0},
    },
    "red light by its state": {"speed": 2.0, "road": {"traffic_light_state": "Red", "distance_to_junction": 8.0}},
    "way around": {"measurement": {"changed_route": True, "route": BESIDE_ROUTE, "route_original": ROUTE}},
    "things": {
        "boxes": [
            cone(), warning(14.0), prop("static.prop.dirtdebris01", 10.0, 2.0), prop("static.prop.streetsign01", 9.0, -3.0),
            prop("static.prop.barrel01", 18.0, 2.0), prop("static.prop.bench01", 20.0, 12.0), prop("static.prop.bin", 9.5, -3.0),
            prop("static.prop.mesh", 15.0, 4.0, mesh_path="/Game/Car/Parked"), prop("static.prop.haybalelb", 11.0, 3.0),
        ],
        "speed": 6.0,
    },
    "painted": {"boxes": [mark("StopLine", 9.0), mark("Stencil_STOP", 12.0), mark("Sign_Yield", 14.0)], "speed": 5.0},
    "lane beside a car": {"road": TWO_LANES, "boxes": ahead_at(3.0, lane_relative_to_ego=1), "speed": 6.0},
    "oncoming": {"boxes": lambda n: [car(22.0 - 4.0 * n, 0.0, yaw=3.1)], "speed": 6.0},
    "bicycle": {"boxes": lambda n: [bicycle(14.0 - n, 0.0, speed=2.0)], "speed": 6.0},
    "pedestrian who vanishes": {"boxes": lambda n: [walker(16.0, 1.0)] if n % 12 == 0 else [], "speed": 6.0},
    "beside its route": {
        "measurement": {"route": BESIDE_ROUTE, "route_original": BESIDE_ROUTE}, "boxes": [prop("static.prop.bin", 6.0, 3.0)],
        "speed": 4.0,
    },
    "parking lane": {"road": {"lane_type_str": "Parking"}},
    "near the end of the route": {"measurement": {"route": [], "route_original": []}},
}  # fmt: skip


def dreams(record: Record, scene: dict[str, Any], profile: Profile, frames: int = 3) -> Iterator[dict[str, Any]]:
    """All samples of the first frames of a scene."""
    route = record(**scene)
    for frame in range(frames):
        for samples in DreamLabeller(profile).label(route, frame).values():
            yield from samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Scene to its samples in the corrected profile, of more frames than scenes need, since instructions are drawn."""
    record = recorder(tmp_path_factory.mktemp("dreams"))
    return {name: list(dreams(record, {**scene, "frames": 24}, CORRECTED, 14)) for name, scene in DREAMS.items()}


def test_every_mode_instruction_and_refusal_has_a_scene(samples: dict[str, list[dict[str, Any]]]) -> None:
    everything = [sample for found in samples.values() for sample in found]
    assert {sample["mode"] for sample in everything} == MODES
    said = {template for sample in everything for template in sample["instructions_templates"]}
    assert {*CANONICAL.values(), CONTINUE} - said == set()
    refusals = {value for name, value in vars(verdicts).items() if name.startswith("REFUSE_")}
    assert {sample["dreamer_answer_safety"] for sample in everything} == {*refusals, verdicts.OBEY}


def test_red_lights_are_not_driven_through(samples: dict[str, list[dict[str, Any]]]) -> None:
    for name in ("red light", "red light by its state"):
        faster = [sample for sample in samples[name] if sample["mode"] == "faster"]
        assert {sample["dreamer_answer_safety"] for sample in faster} == {verdicts.REFUSE_RED_LIGHT}
        assert not any(sample["safe_to_execute"] for sample in faster)


def test_lane_changes_lead_to_every_kind_of_lane(samples: dict[str, list[dict[str, Any]]]) -> None:
    everything = [sample for found in samples.values() for sample in found if sample["mode"] == "lane_change"]
    allowed = {(s["info"]["lane_change_type"], s["allowed"]) for s in everything}
    assert allowed >= {
        ("driving", True),
        ("driving", False),
        ("driving opposite", False),
        ("parking", True),
        ("sidewalk", False),
    }


def test_every_line_of_the_dreams_is_taken(record: Record) -> None:
    def everything() -> None:
        assert DreamLabeller(CORRECTED).kind.tree == "dreamer"
        for scene in DREAMS.values():
            for profile in (PARITY, CORRECTED):
                list(dreams(record, {**scene, "frames": 16}, profile, 6))

    assert untaken((instructions, labeller, modes, verdicts), everything) == []


FAR_CAR = car(25.0)
HAZARD = {"vehicle_hazard": True, "vehicle_affecting_id": 101}
LIGHT = {"distance_to_junction": 15.0}


def turning(sideways: float) -> Callable[[int], dict[str, Any]]:
    """The ego vehicle leaves its way to the right, metres each frame."""
    return lambda n: {"ego_matrix": pose(2.0 * n, sideways * n)}


def changing(acceleration: float) -> Callable[[int], dict[str, Any]]:
    """The ego vehicle changes its speed."""
    return lambda n: {"speed": 20.0 + 0.25 * acceleration * n}


BUCKETS: Scenes = {
    **{f"speed_limit_{limit}": {"measurement": {"speed_limit": limit}} for limit in (13.9, 25.0)},
    **{f"target_speed_{bound}": {"measurement": {"target_speed": bound - 0.2}} for bound in (0.5, 5, 10, 15, 20, 25)},
    "target_speed_1000000": {"measurement": {"target_speed": 30.0}},
    # Ten frames later the ego is ten times as far beside, five times on average.
    **{f"lateral_control_{b}": {"measurement": turning(0.9 * b / 5)} for b in (0.1, 1, 2, 5)},
    "lateral_control_1000000": {"measurement": turning(2.0)},
    **{f"acceleration_{b}": {"measurement": changing(b - 0.5)} for b in (-40, -20, -5, -1, 1, 5, 20, 40)},
    "acceleration_1000000": {"measurement": changing(41.0)},
    "leading_object_vehicle": {"measurement": caused_by(FAR_CAR), "boxes": [FAR_CAR]},
    "leading_object_walker": {"measurement": caused_by_type("walker.pedestrian.0001", 9.0)},
    "leading_object_traffic.stop": {"measurement": caused_by_type("traffic.stop", 9.0)},
    "leading_object_static.prop.trafficwarning": {"measurement": caused_by_type("static.prop.trafficwarning", 9.0)},
    "start_from_stop_old": {"measurement": lambda n: {"speed": 0.4, "ego_matrix": pose(0.3 * n)}},
    "start_from_stop": {"measurement": {"speed": 0.1, "target_speed": 5.0}},
    "junction": {"road": {"distance_to_junction": 5.0}},
    "red_light": {"road": {**LIGHT, "traffic_light_state": "Red"}},
    "green_light": {"road": {**LIGHT, "traffic_light_state": "Green"}},
    "changed_route": {"measurement": {"changed_route": True}},
    "vehicle": {"measurement": HAZARD, "boxes": [car()]},
    "vehicle_front": {"measurement": HAZARD, "boxes": [car(yaw=3.1)]},
    "vehicle_side": {"measurement": HAZARD, "boxes": [car(yaw=1.5)]},
    "light": {"measurement": {"light_hazard": True}},
    "stop_sign": {"measurement": {"stop_sign_hazard": True}},
    "stop_sign_close": {"boxes": [sign(9.0)]},
    "walker": {"measurement": {"walker_hazard": True, "walker_affecting_id": 200}, "boxes": [walker(9.0)]},
    "walker_hazard": {"measurement": {"walker_hazard": True, "walker_affecting_id": 999}},
    "brake": {"measurement": {"control_brake": True}},
    "parkinglane": {"measurement": turning(0.2), "group": "parking_lane"},
    VANISHED: {"measurement": caused_by_type("vehicle.lincoln.mkz_2020", 8.0)},
}


@pytest.mark.parametrize("profile", [PARITY, CORRECTED], ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", BUCKETS)
def test_every_bucket_has_a_scene(record: Record, name: str, profile: Profile) -> None:
    scale = 0.8 if name.startswith("acceleration") and profile is PARITY else 1.0
    scene = dict(BUCKETS[name])
    if scale != 1.0:  # the published program takes frames to be 0.2 s apart
        bound = float(name.rpartition("_")[2])
        scene["measurement"] = changing(min(bound - 0.5, 41.0) * scale)
    found = bucket_run(record(**{"frames": 26, **scene}).run, profile)
    assert name in found.paths
    assert len(found.paths[name]) == found.total > 0
    if name == VANISHED:
        assert list(found.paths) == [VANISHED]


def test_no_bucket_is_without_a_scene() -> None:
    bounds = {
        "target_speed": buckets.TARGET_SPEED_BOUNDS,
        "lateral_control": buckets.LATERAL_BOUNDS,
        "acceleration": buckets.ACCELERATION_BOUNDS,
    }
    wanted = {f"{name}_{bound}" for name, values in bounds.items() for bound in values}
    assert {*wanted, *CONDITIONS, VANISHED} - set(BUCKETS) == set()
    assert len(buckets.NAMES) == len(bounds) + 2  # speed limits and leading objects are named by what is there


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("leading_object_vehicle", {"measurement": caused_by(car(31.0)), "boxes": [car(31.0)]}),
        ("red_light", {"road": {"distance_to_junction": 21.0, "traffic_light_state": "Red"}}),
        ("junction", {"road": {"distance_to_junction": 10.5}}),
        ("stop_sign_close", {"boxes": [sign(15.5)]}),
        ("vehicle", {"measurement": HAZARD, "boxes": [car(id=5)]}),
        ("vehicle_side", {"measurement": HAZARD, "boxes": [car(yaw=0.4)]}),
        (
            "vehicle_front",
            {"measurement": HAZARD, "boxes": [car(yaw=3.1)], "road": {**LIGHT, "traffic_light_state": "Red"}},
        ),
        ("start_from_stop", {"measurement": {"speed": 0.1, "target_speed": 0.7}}),
        (VANISHED, {"measurement": caused_by_type("vehicle.bh.crossbike", 8.0)}),
        (VANISHED, {"measurement": caused_by_type("vehicle.lincoln.mkz_2020", 10.5)}),
        ("parkinglane", {"measurement": turning(0.2)}),
    ],
)
def test_just_outside_a_bucket(record: Record, name: str, changes: dict[str, Any]) -> None:
    assert name not in bucket_run(record(**{"frames": 26, **changes}).run, CORRECTED).paths


def test_malformed_frames_are_named_and_too_many_of_them_are_an_error(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record(frames=30).run
    run.boxes_path(14).write_bytes(b"\x1f\x8bbroken")
    for limit, status in (("0.5", 0), ("0.01", 1)):
        monkeypatch.setattr(sys, "argv", ["buckets", "--data", str(run.root), "--max-failures", limit])
        assert buckets.main() == status
    failed = read_json(run.root / buckets.FOLDER / buckets.FAILED_NAME)["failed"]
    assert sorted(failed) == [f"{run.key}/{number:04d}" for number in range(11, 15)]
    assert all("boxes unreadable" in reason for reason in failed.values())
    assert "more than 1.00%" in capsys.readouterr().out


def test_report_states_limits_and_shares_per_mode(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record(frames=12, **DREAMS["wide road"]).run
    monkeypatch.setattr(sys, "argv", ["report", "--data", str(run.root), "--every", "1"])
    assert report.main() == 0
    head, limits, *rows = capsys.readouterr().out.splitlines()
    assert all(name in head for name in ("dropped", "redrawn", "lateral", "jerk", "curvature"))
    assert "50" in limits.split()
    shares = {row.split()[0]: row.split()[2:4] for row in rows}
    assert shares.keys() >= {"faster", "slower", "lane_change"}
    assert shares["lane_change"][0] == "0.0%"  # lane changes are drawn again rather than dropped
    assert shares["lane_change"][1] != "0.0%"
