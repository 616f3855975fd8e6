"""A small made-up data set with consistent pictures, poses and labels, and the recorded outputs of the published code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from driving.camera import DRIVING_CAMERA
from driving.files import write_json
from driving.geometry import to_ego
from driving.label_records import CommentaryLabel, KeyObject, QaPair, VqaLabel, write_label
from driving.records import (
    COMMENTARY,
    DREAMER,
    VQA,
    Measurement,
    RunFolder,
    TrafficWarningBox,
    write_boxes,
    write_measurement,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"


def shared(*parts: str) -> Path:
    """A folder of recorded reference outputs; the test is skipped where they are absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no reference outputs at {path}")
    return path


def road(num_points: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3) x, y, heading of a winding road, one point per 0.25 m."""
    bends = np.repeat(rng.uniform(-0.05, 0.05, num_points // 80 + 1), 80)[:num_points]
    smooth = np.convolve(bends, np.ones(40) / 40, mode="same")
    heading = np.cumsum(smooth * 0.25)
    return np.stack([np.cumsum(np.cos(heading)) * 0.25, np.cumsum(np.sin(heading)) * 0.25, heading], axis=1)


def draw_road(points: np.ndarray, obstacle: np.ndarray | None) -> np.ndarray:
    """(512, 1024, 3) BGR picture of a road through ego-frame points (n, 2), with an obstacle (2,) as a red block."""
    picture = np.full((512, 1024, 3), (200, 160, 120), np.uint8)
    picture[256:] = (60, 90, 60)
    normals = np.stack([-np.gradient(points[:, 1]), np.gradient(points[:, 0])], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    edges = [DRIVING_CAMERA.project_ground(points + side * normals) for side in (-3.0, 3.0)]
    seen = edges[0][1] & edges[1][1]
    outline = np.concatenate([edges[0][0][seen], edges[1][0][seen][::-1]])
    if len(outline) > 3:
        cv2.fillPoly(picture, [outline.round().astype(np.int32)], (90, 90, 90))
    if obstacle is not None and obstacle[0] > 1:
        corners = [(obstacle[0], obstacle[1] + y, z) for y in (-1, 1) for z in (0.0, 1.6)]
        pixels, front = DRIVING_CAMERA.project(np.array(corners))
        if front.all():
            low, high = pixels.min(0).astype(int), pixels.max(0).astype(int)
            cv2.rectangle(picture, tuple(map(int, low)), tuple(map(int, high)), (0, 0, 220), -1)
    return picture


def make_run(root: Path, name: str, seed: int, num_frames: int = 40) -> RunFolder:
    """Record one made-up drive: a car follows a winding road and brakes for a red block."""
    rng = np.random.default_rng(seed)
    run = RunFolder(root, Path("simlingo/training_1_scenario/routes_training/random_weather_seed_1") / name)
    points = road(2400, rng)
    stop_at, along, speed = float(rng.uniform(60, 90)), 10.0, float(rng.uniform(2, 8))
    cruise = float(rng.uniform(4, 9))
    (run.path / "rgb").mkdir(parents=True)
    (run.path / "rgb_augmented").mkdir()
    for frame in range(num_frames):
        gap = stop_at - along - 6
        wanted = min(cruise, max(0.0, gap) * 0.5)
        index = int(along / 0.25)
        pose, heading = points[index, :2], float(points[index, 2])
        ahead = to_ego(points[index : index + 320, :2], pose, heading)
        block = to_ego(points[int(stop_at / 0.25), :2], pose, heading)
        _write_frame(run, frame, ahead, block, speed, pose, heading, gap)
        speed = float(np.clip(speed + np.clip(wanted - speed, -1.2, 0.5), 0, None))
        along += speed * 0.25
        if along > stop_at - 6.5:
            stop_at = along + float(rng.uniform(50, 80))
    write_json(
        run.results_path,
        {
            "status": "Perfect",
            "scores": {"score_route": 100.0, "score_penalty": 1.0, "score_composed": 100.0},
            "num_infractions": 0,
            "infractions": {},
        },
    )
    return run


def _write_frame(run, frame, ahead, block, speed, pose, heading, gap) -> None:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
    matrix[:2, 3] = pose
    name = f"{frame:04d}"
    cv2.imwrite(str(run.path / "rgb" / f"{name}.jpg"), draw_road(ahead, block))
    cv2.imwrite(str(run.path / "rgb_augmented" / f"{name}.jpg"), draw_road(ahead - [0.0, 0.5], block - [0.0, 0.5]))
    route = ahead[10::4][:40].tolist()
    braking = bool(gap < 12)
    values = {
        "pos_global": pose.tolist(), "theta": heading, "speed": speed, "target_speed": speed, "speed_limit": 13.9,
        "target_point": ahead[60].tolist(), "target_point_next": ahead[140].tolist(), "command": 4, "next_command": 4,
        "aim_wp": route[0], "route": route, "route_original": route, "changed_route": False,
        "speed_reduced_by_obj_type": None, "speed_reduced_by_obj_id": None, "speed_reduced_by_obj_distance": None,
        "steer": 0.0, "throttle": 0.0, "brake": braking, "control_brake": braking, "junction": False,
        "vehicle_hazard": braking, "vehicle_affecting_id": None, "light_hazard": False, "walker_hazard": False,
        "walker_affecting_id": None, "stop_sign_hazard": False, "stop_sign_close": False, "walker_close": False,
        "walker_close_id": None, "angle": 0.0, "augmentation_translation": 0.5, "augmentation_rotation": 0.0,
        "ego_matrix": matrix.tolist(),
    }  # fmt: skip
    write_measurement(run.measurement_path(frame), Measurement.from_dict(values))
    # Props are stored with half length and half width exchanged.
    position = [*block.tolist(), 0.0]
    red_block = TrafficWarningBox(
        extent=[1.0, 0.05, 0.8], position=position, distance=float(np.hypot(*block)), num_points=50
    )
    write_boxes(run.boxes_path(frame), [red_block])
    sentence = "Slow down because of the red block." if braking else "Follow the road."
    image = f"rgb/{name}.jpg"
    write_label(
        run.label_path(COMMENTARY, frame),
        CommentaryLabel(image, sentence, sentence, braking, None, "", None, {}).to_dict(),
    )
    answer = "Yes, there is." if braking else "No, there is not."
    pair = QaPair("Is there a block close ahead?", answer, -1, -1, 1, 0, [])
    questions = {"perception": [pair], "prediction": [], "planning": [], "behavior": []}
    label = VqaLabel({"<c1>": KeyObject("Vehicle", "red block")}, questions, image)
    write_label(run.label_path(VQA, frame), label.to_dict())
    stopping = np.minimum(np.arange(1, 11) * 0.25 * speed, 2.0)
    dream = {
        "waypoints": np.stack([stopping, np.zeros(10)], axis=1).tolist(), "route": "org", "allowed": True, "mode": "stop",
        "dreamer_instruction": ["Stop now.", "Please stop."],
        "instructions_templates": ["Stop now.", "Please stop."], "templates_placeholders": [{}, {}],
        "dreamer_answer_safety": "Following the given instruction. Waypoints:",
        "safe_to_execute": True,
    }  # fmt: skip
    write_label(run.label_path(DREAMER, frame), {"stop": [dream]})


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """Four made-up drives of 40 frames."""
    root = tmp_path_factory.mktemp("data") / "database" / "simlingo"
    for number in range(4):
        make_run(root, f"Mini01_Rep0_{number}_route0_01_01_00_00_00", seed=number)
    return root


@pytest.fixture(scope="session")
def label_root(tmp_path_factory) -> Path:
    """The reference frames with the reference labels beside them."""
    source = shared("parity", "labels")
    root = tmp_path_factory.mktemp("labels") / "simlingo"
    root.mkdir()
    (root / "data").symlink_to(source / "root/database/simlingo/data")
    for tree in ("commentary", "drivelm", "dreamer"):
        (root / tree).symlink_to(source / "expected" / tree)
    return root
