"""The recorded formats: what is written is what was published, and bad files say what is wrong with them."""

import gzip
import json
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pytest

from dataset_generation.language_labels.synthetic import FrameMaker
from driving.geometry import to_ego
from driving.label_records import fill
from driving.records import (
    BOX_TYPES,
    COMMENTARY,
    DREAMER,
    VQA,
    CarBox,
    EgoInfoBox,
    LaneWidth,
    Measurement,
    RecordError,
    RouteResult,
    RunFolder,
    StaticBox,
    StaticCarBox,
    TrafficWarningBox,
    WalkerBox,
    box_from_dict,
    find_runs,
    label_rejection,
    read_boxes,
    read_measurement,
    read_result,
    training_rejection,
    write_boxes,
    write_measurement,
)

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity" / "labels" / "root" / "database" / "simlingo"

PUBLISHED_MEASUREMENT_KEYS = """
    pos_global theta speed target_speed speed_limit target_point target_point_next command next_command aim_wp route
    route_original changed_route speed_reduced_by_obj_type speed_reduced_by_obj_id speed_reduced_by_obj_distance steer
    throttle brake control_brake junction vehicle_hazard vehicle_affecting_id light_hazard walker_hazard
    walker_affecting_id stop_sign_hazard stop_sign_close walker_close walker_close_id angle augmentation_translation
    augmentation_rotation ego_matrix
"""


def result(**changes):
    values = {
        "status": "Completed",
        "score_route": 100.0,
        "score_penalty": 1.0,
        "score_composed": 100.0,
        "num_infractions": 0,
        "infractions": {},
    }
    return RouteResult(**{**values, **changes})


@pytest.fixture
def frame():
    maker = FrameMaker(3)
    boxes = maker.boxes()
    return maker.measurement(4, boxes), boxes


def test_measurement_keys_are_written_in_published_order(frame, tmp_path):
    write_measurement(tmp_path / "0000.json.gz", frame[0])
    with gzip.open(tmp_path / "0000.json.gz", "rt") as stream:
        assert list(json.load(stream)) == PUBLISHED_MEASUREMENT_KEYS.split()


def test_files_come_back_as_written(frame, tmp_path):
    measurement, boxes = frame
    write_measurement(tmp_path / "m.json.gz", measurement)
    write_boxes(tmp_path / "b.json.gz", boxes)
    assert read_measurement(tmp_path / "m.json.gz") == measurement
    read = [box.to_dict() for box in read_boxes(tmp_path / "b.json.gz")]
    assert json.dumps(read) == json.dumps([box.to_dict() for box in boxes])


def test_extra_keys_follow_the_published_ones(frame, tmp_path):
    values = {**frame[0].to_dict(), "reason": "a/b"}
    measurement = Measurement.from_dict(values)
    write_measurement(tmp_path / "m.json.gz", measurement)
    assert gzip.decompress((tmp_path / "m.json.gz").read_bytes()).decode().rstrip("\n}").endswith(r'"reason": "a\/b"')
    assert read_measurement(tmp_path / "m.json.gz").extra == {"reason": "a/b"}


def test_a_file_that_is_read_and_written_again_is_the_same_to_the_last_byte(frame, tmp_path):
    measurement, _ = frame
    extra = {f"key_{number}": number for number in range(12)}
    write_measurement(tmp_path / "first.json.gz", replace(measurement, extra=extra))
    write_measurement(tmp_path / "second.json.gz", read_measurement(tmp_path / "first.json.gz"))
    assert (tmp_path / "first.json.gz").read_bytes() == (tmp_path / "second.json.gz").read_bytes()


@pytest.mark.parametrize("kind", BOX_TYPES.values(), ids=BOX_TYPES.keys())
def test_key_order_names_every_field(kind):
    names = {row.name for row in fields(kind)} - {"source"}
    assert len(kind.key_order) == len(set(kind.key_order))
    if kind.key_order:
        assert names - set(kind.key_order) <= {"extent"}, "only landmarks have no extent"
        assert set(kind.key_order) <= names


@pytest.mark.parametrize("kind", [StaticBox, StaticCarBox, TrafficWarningBox, CarBox, WalkerBox])
def test_corners_enclose_what_stands_there(kind):
    """Props lie in files with length and width exchanged, and the place of a pedestrian is the middle of the body."""
    stored = [1.0, 3.0, 0.5] if kind in (StaticBox, StaticCarBox, TrafficWarningBox) else [3.0, 1.0, 0.5]
    missing = {row.name: None for row in fields(kind) if row.default is MISSING}
    box = kind(**{**missing, "extent": stored, "position": [10.0, 2.0, 1.0], "yaw": 0.3, "distance": 10.2})
    corners = np.array(box.corners())
    local = to_ego(corners[:, :2], (10.0, 2.0), 0.3)
    np.testing.assert_allclose(np.abs(local), [[3.0, 1.0]] * 8)
    low, high = (0.5, 1.5) if kind is WalkerBox else (1.0, 2.0)
    assert sorted(corners[:, 2]) == [low] * 4 + [high] * 4
    assert len({tuple(np.sign([*place, height - 1.2])) for place, height in zip(local, corners[:, 2])}) == 8


@pytest.mark.skipif(not PARITY.exists(), reason="no published frames beside the repository")
def test_published_frames_are_understood_completely():
    for run in find_runs(PARITY):
        for number in run.frames()[::7]:
            measurement = read_measurement(run.measurement_path(number))
            assert measurement.to_dict() == measurement.source
            assert all(box.to_dict() == box.source for box in read_boxes(run.boxes_path(number)))


def test_lanes_keep_their_odd_key(frame):
    ego = next(box for box in frame[1] if isinstance(box, EgoInfoBox))
    assert ego.to_dict()["ego_lane"] == {"type:": "Driving", "width": 3.5}
    assert EgoInfoBox.from_dict(ego.to_dict()).left_lanes[0] == LaneWidth("Driving", 3.5)


def test_duplicate_and_null_entries_are_tolerated():
    walker = {"class": "walker", "position": [1, 2, 0], "distance": 2.2, "age": "adult", "num_points": 3, "speed": 0.0}
    box = box_from_dict({**walker, "id": None, "extent": [0.2, 0.2, 0.9]})
    assert isinstance(box, WalkerBox)
    assert box.yaw == 0.0


@pytest.mark.parametrize(
    ("key", "odd", "expected"),
    [
        ("ego_matrix", [[1.0, 0.0], [0.0, 1.0]], "(4, 4) numbers for ego_matrix"),
        ("ego_matrix", [[0.0] * 4] * 3, "(4, 4) numbers for ego_matrix"),
        ("target_point", None, "(x, y) for target_point"),
        ("pos_global", [1.0], "(x, y) for pos_global"),
        ("route", [[1.0, 2.0], [1.0]], "a list of (x, y) for route"),
        ("route_original", None, "a list of (x, y) for route_original"),
        ("speed", "fast", "two numbers for theta and speed"),
    ],
)
def test_places_that_are_no_places_are_named_with_their_file(frame, tmp_path, key, odd, expected):
    path = tmp_path / "0003.json.gz"
    whole = frame[0].to_dict()
    path.write_bytes(gzip.compress(json.dumps({**whole, "route": [], "route_original": []}).encode()))
    assert read_measurement(path).route == [], "a route may have come to its end"
    path.write_bytes(gzip.compress(json.dumps({**whole, key: odd}).encode()))
    with pytest.raises(RecordError, match=re.escape(f"{path}: expected {expected}, got")):
        read_measurement(path)


def test_missing_keys_are_named_with_file_and_entry(tmp_path):
    path = tmp_path / "boxes.json.gz"
    path.write_bytes(gzip.compress(json.dumps([{"class": "walker", "position": [0, 0, 0]}]).encode()))
    with pytest.raises(RecordError, match=r"boxes\.json\.gz: entry 0: WalkerBox needs the keys \['age', 'distance'"):
        read_boxes(path)


def test_unknown_box_class_suggests_the_nearest():
    with pytest.raises(RecordError, match="did you mean 'walker'"):
        box_from_dict({"class": "walkers"})


def test_truncated_file_is_named(frame, tmp_path):
    path = tmp_path / "0007.json.gz"
    write_measurement(path, frame[0])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"0007\.json\.gz"):
        read_measurement(path)


def test_numbers_that_json_cannot_hold_are_refused(frame, tmp_path):
    values = {**frame[0].to_dict(), "speed": float("inf")}
    with pytest.raises(RecordError, match="finite"):
        write_measurement(tmp_path / "m.json.gz", Measurement.from_dict(values))
    assert list(tmp_path.iterdir()) == []


def test_label_trees_lie_beside_the_data(tmp_path):
    run = RunFolder(tmp_path, Path("simlingo/a/b/c/Town12_Rep0_110_route3_01_02_03_04_05"))
    parts = {kind: run.label_path(kind, 110).relative_to(tmp_path) for kind in (VQA, COMMENTARY, DREAMER)}
    assert parts[VQA] == Path("drivelm") / run.relative / "vqa" / "0110.json.gz"
    assert parts[COMMENTARY] == Path("commentary") / run.relative / "commentary" / "0110.json.gz"
    assert parts[DREAMER] == Path("dreamer") / run.relative / "dreamer" / "0110.json.gz"
    assert (run.town, run.repetition, run.route_file, run.route_index) == ("Town12", 0, "110", 3)


def test_old_town_runs_are_parsed():
    run = RunFolder(Path(), Path("simlingo/lb1_split/routes_training/X/Town01_Rep0_Town01_Scenario1_0_route0_03"))
    assert (run.town, run.route_file, run.route_index) == ("Town01", "Town01_Scenario1_0", 0)


def test_names_of_route_files_may_look_like_a_route():
    run = RunFolder(Path(), Path("Town12_Rep1_cut_route7_b_route3_01_11_13_51_32"))
    assert (run.town, run.repetition, run.route_file, run.route_index) == ("Town12", 1, "cut_route7_b", 3)


@pytest.mark.parametrize("town", ["Mini01", "Town12", "Town10HD"])
def test_the_towns_name_survives_the_prefix_of_run_folders(town):
    name = f"{town if town.startswith('Town') else 'Town' + town}_Rep0_r7_route0_11_21_10_00_00"
    assert RunFolder(Path("set"), Path("simlingo", "r7", "routes_training", "default", name)).town == town


def test_runs_are_found_at_any_depth_and_only_with_measurements(frame, tmp_path):
    deep = RunFolder(tmp_path, Path("simlingo/set/split/weather/Town01_Rep0_1_route0"))
    flat = RunFolder(tmp_path, Path("Town01_Rep0_2_route0"))
    for run in (deep, flat):
        write_measurement(run.measurement_path(12), frame[0])
    (tmp_path / "data" / "simlingo" / "Town12_short" / "rgb").mkdir(parents=True)
    (deep.path / "measurements" / ".0013.json.gz.x.tmp").touch()
    assert {run.relative: run.frames() for run in find_runs(tmp_path)} == {deep.relative: [12], flat.relative: [12]}


def test_missing_dataset_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a dataset root"):
        find_runs(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "trains", "labels"),
    [
        ({}, True, True),
        ({"score_composed": 60.0, "num_infractions": 1, "infractions": {"red_light": ["x"]}}, False, False),
        ({"score_composed": 94.7, "num_infractions": 1, "infractions": {"outside_route_lanes": ["x"]}}, True, False),
        ({"score_composed": 85.0, "num_infractions": 1, "infractions": {"min_speed_infractions": ["x"]}}, True, True),
        ({"score_route": 96.2, "score_composed": 96.2}, True, False),
        ({"score_route": 90.0, "score_composed": 90.0}, False, False),
    ],
)
def test_runs_are_used_by_the_published_rules(changes, trains, labels):
    assert (training_rejection(result(**changes)) is None) == trains
    assert (label_rejection(result(**changes)) is None) == labels


def test_result_without_scores_is_refused(tmp_path):
    path = tmp_path / "results.json.gz"
    path.write_bytes(gzip.compress(b"{}"))
    with pytest.raises(RecordError, match="scores"):
        read_result(path)


def test_fill_replaces_each_placeholder_once():
    slots = {"<A>": "x <B>", "<B>": "y"}
    assert fill("<A> and <B> and <C> < 3", slots) == "x <B> and y and <C> < 3"
