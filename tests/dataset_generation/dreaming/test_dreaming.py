"""Dreams and buckets against the recorded outputs of the published generators, and laws of the corrected profile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from dataset_generation.buckets import CONDITIONS, bucket_dataset
from dataset_generation.dreaming.__main__ import read_templates
from dataset_generation.dreaming.corrections import DreamCorrection, corrections_of
from dataset_generation.dreaming.instructions import CANONICAL, LaneGoal, Wording, lane_description
from dataset_generation.dreaming.labeller import DreamLabeller, cross_track
from dataset_generation.dreaming.modes import crash_path, shifted_path
from dataset_generation.dreaming.realism import LIMITS, Dream, measure, violations
from dataset_generation.dreaming.rollout import STEPS, SpeedCommand, Start, reach, roll_out
from dataset_generation.dreaming.verdicts import OBEY
from dataset_generation.language_labels.profiles import CORRECTED, PARITY
from dataset_generation.language_labels.route_data import LabelFailure, RouteData, Skipped
from driving.files import read_json
from driving.kinematics import BicycleModel
from driving.records import DREAMER, find_runs

PARITY_FOLDER = Path(__file__).resolve().parents[3] / ".." / "shared" / "parity" / "labels"
needs_parity = pytest.mark.skipif(
    not PARITY_FOLDER.is_dir(), reason="needs the recorded outputs of the published generators"
)


def labels(profile: Any, templates: Any, most: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(path of the recorded label, label made here) of the first ``most`` labelled frames of each run."""
    root = PARITY_FOLDER / "root"
    for run in find_runs(root / "database" / "simlingo"):
        route, made = RouteData(run, root / "data" / "simlingo", profile), 0
        if route.rejection:
            continue
        for frame in route.frames:
            try:
                label = DreamLabeller(profile, templates).label(route, frame)
            except Skipped:
                continue
            made += 1
            yield (
                PARITY_FOLDER / "expected" / DREAMER.tree / run.relative / DREAMER.leaf / f"{frame:04d}.json.gz",
                dict(label),
            )
            if made == most:
                break


def assert_same(recorded: Any, made: Any, place: str, in_crash: bool = False) -> None:
    """Equal texts, flags and shapes; numbers within 1e-4, in crash samples 2 cm, where single precision is amplified."""
    if isinstance(recorded, dict):
        assert recorded.keys() == made.keys(), place
        for key, value in recorded.items():
            assert_same(value, made[key], f"{place}/{key}", in_crash or key == "crash")
    elif isinstance(recorded, list):
        assert len(recorded) == len(made), place
        for index, value in enumerate(recorded):
            assert_same(value, made[index], f"{place}[{index}]", in_crash)
    elif isinstance(recorded, float) and not isinstance(made, bool):
        assert made == pytest.approx(recorded, abs=0.02 if in_crash else 1e-4), place
    elif not (in_crash and isinstance(recorded, str) and ("m, y:" in recorded or recorded.startswith("The route"))):
        # Sentences with millimetres of a crash may differ in the last digit.
        assert recorded == made, place


@needs_parity
def test_parity_profile_repeats_the_published_dreams() -> None:
    templates = read_templates(PARITY_FOLDER / "root" / "data" / "augmented_templates" / "dreamer.json")
    seen = set()
    for path, made in labels(PARITY, templates, most=8):
        recorded = read_json(path)
        made = json.loads(json.dumps(made))
        for sample in (sample for samples in [*recorded.values(), *made.values()] for sample in samples):
            sample.pop("rgb_path")
        assert_same(recorded, made, str(path.name))
        seen |= recorded.keys()
    assert len(seen) == 9


@needs_parity
def test_parity_profile_repeats_the_published_buckets() -> None:
    found = bucket_dataset(PARITY_FOLDER / "root" / "database" / "simlingo", PARITY, jobs=1)
    recorded = read_json(PARITY_FOLDER / "expected" / "buckets_paths.json.gz")

    def keys(paths: list[str]) -> set[str]:
        return {path.partition("/data/simlingo/")[2] for path in paths}

    assert {name: keys(paths) for name, paths in found.paths.items()} == {n: keys(p) for n, p in recorded.items()}


@needs_parity
def test_corrected_dreams_obey_their_own_rules() -> None:
    modes = set()
    for _, made in labels(CORRECTED, read_templates(None), most=60):
        for sample in (sample for samples in made.values() for sample in samples):
            modes.add(sample["mode"])
            assert isinstance(sample["dreamer_instruction"], list)
            assert all("<" not in text and "the the" not in text for text in sample["dreamer_instruction"])
            assert sample["safe_to_execute"] == (sample["dreamer_answer_safety"] == OBEY)
            if not sample["allowed"]:
                assert not sample["safe_to_execute"]
            for text, template, slots in zip(
                sample["dreamer_instruction"],
                sample["instructions_templates"],
                sample["templates_placeholders"],
                strict=True,
            ):
                filled = template
                for name, value in slots.items():
                    filled = filled.replace(name, value)
                assert filled == text
    assert len(modes) == 9


@needs_parity
def test_each_correction_can_be_told_from_the_published_behaviour() -> None:
    """Every row of the table is asked for somewhere in the code."""
    source = "".join(
        path.read_text() for path in (Path(__file__).parents[3] / "dataset_generation" / "dreaming").glob("*.py")
    )
    for correction in DreamCorrection:
        assert source.count(f"DreamCorrection.{correction.name}") >= 1, correction.name


def straight_start(speed: float) -> Start:
    return Start(0.0, 0.0, 0.0, speed, 0.0, 0.0, 0.0)


NO_CONTROLS, NO_POSITIONS = np.zeros((STEPS, 3)), np.zeros((STEPS, 2))
STRAIGHT = np.stack([np.arange(60.0), np.zeros(60)], axis=1)


def test_constant_throttle_follows_the_published_bicycle() -> None:
    states = roll_out(
        straight_start(5.0), NO_CONTROLS, NO_POSITIONS, np.zeros((0, 2)), SpeedCommand.THROTTLE, np.full(STEPS, 0.7)
    )
    x, y, yaw, speed, throttle = 0.0, 0.0, 0.0, 5.0, 0.0
    for step in range(STEPS):
        x, y, yaw, speed = BicycleModel().step_ego(x, y, yaw, speed, 0.0, throttle, False)
        assert states.position[step, 0] == pytest.approx(x)
        assert states.speed[step] == pytest.approx(speed)
        throttle = 0.7


@pytest.mark.parametrize("target", [2.0, 6.0, 10.0])
def test_target_speeds_are_reached_on_the_path(target: float) -> None:
    states = roll_out(
        straight_start(6.0), NO_CONTROLS, NO_POSITIONS, STRAIGHT, SpeedCommand.SPEEDS, np.full(STEPS, target), 9.0
    )
    assert states.speed[-1] == pytest.approx(target, abs=0.6)
    assert np.max(np.abs(states.position[:, 1])) < 0.01


def test_brake_limit_bounds_every_step() -> None:
    states = roll_out(
        straight_start(15.0), NO_CONTROLS, NO_POSITIONS, STRAIGHT, SpeedCommand.SPEEDS, np.zeros(STEPS), 9.0
    )
    assert np.min(np.diff(states.speed)) >= -9.0 * 0.05 - 1e-12
    assert states.speed[-1] == pytest.approx(0.0, abs=1e-9)


def test_reach_grows_with_speed_and_time() -> None:
    near, far = reach(8.0, 20)
    assert 0 < near < far
    assert reach(12.0, 20)[1] > far
    assert reach(8.0, 40)[1] > far


def test_crash_path_meets_the_object_and_returns() -> None:
    route = np.stack([np.arange(2.0, 42.0), np.zeros(40)], axis=1)
    path = crash_path(route.copy(), np.array([20.0, 3.0]))
    assert np.min(np.linalg.norm(path - [20.0, 3.0], axis=1)) == 0
    np.testing.assert_array_equal(path[-5:], route[-5:])
    assert np.max(np.linalg.norm(np.diff(path, axis=0), axis=1)) < 2.1


def test_lane_change_path_ends_sideways_by_the_lane_width() -> None:
    route = np.stack([np.arange(2.0, 42.0), np.zeros(40)], axis=1)
    path = shifted_path(route, start=4, transition=6, shift=3.5)
    np.testing.assert_array_equal(path[:4], route[:4])
    np.testing.assert_allclose(path[4:, 1], 3.5)
    assert cross_track(path[:20], route[:20])[0] == pytest.approx(3.5)


def test_a_gentle_drive_is_drivable_and_a_jump_is_not() -> None:
    time = 0.05 * np.arange(1, STEPS + 1)
    gentle = np.stack([5 * time, np.zeros(STEPS)], axis=1)
    jump = gentle + np.where(time > 1.2, 4.0, 0.0)[:, None] * [0.0, 1.0]
    for positions, broken in ((gentle, False), (jump, True)):
        dream = Dream(positions[::5], np.zeros(10), np.full(STEPS, 5.0), positions)
        assert bool(violations(dream, dict.fromkeys(vars(LIMITS), 0.0))) is broken
    assert measure(Dream(gentle[::5], np.zeros(10), np.full(STEPS, 5.0), gentle))["deceleration"] == 0


def test_wording_refuses_an_open_slot() -> None:
    with pytest.raises(ValueError, match="nothing fills"):
        Wording({"crash": (CANONICAL["crash"],)}, Random(0)).say("crash")


def test_lanes_are_counted_from_one() -> None:
    said = {lane_description(LaneGoal(3, 2, 2, 2, 3), Random(seed)) for seed in range(60)}
    assert said == {"2nd lane from the left", "3rd lane from the left", "2nd lane from the right"}


def test_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'corrected'"):
        corrections_of("correctd")


def test_frame_without_successors_is_left_out_by_name(tmp_path: Path) -> None:
    from dataset_generation.language_labels.synthetic import write_route

    run = write_route(tmp_path, 0, 6)
    route = RouteData(run, tmp_path, CORRECTED)
    with pytest.raises(Skipped, match="fewer than 9"):
        DreamLabeller(CORRECTED).label(route, 0)
    run.measurement_path(1).write_bytes(b"\x1f\x8bbroken")
    with pytest.raises(LabelFailure, match="unreadable"):
        route.frame(1)


def test_bucket_names_are_those_of_the_loader() -> None:
    wanted = {"start_from_stop", "changed_route", "vehicle_front", "vehicle_side", "parkinglane"}
    assert wanted <= CONDITIONS.keys()
