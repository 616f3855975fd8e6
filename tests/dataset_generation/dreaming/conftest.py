"""Hand-built seconds for dreams and buckets: a calm road, and what a test adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_generation.language_labels.profiles import CORRECTED
from dataset_generation.language_labels.route_data import RouteData
from driving.files import write_bytes, write_json
from driving.records import Box, EgoCarBox, LaneWidth, RunFolder, write_boxes, write_measurement
from tests.dataset_generation.language_labels.conftest import CALM_MEASUREMENT, CALM_ROAD

LANES = [LaneWidth("Driving", 3.5)] * 3
Boxes = Sequence[Box] | Callable[[int], Sequence[Box]]


def pose(x: float, y: float = 0.0) -> list[list[float]]:
    """The ego vehicle at a place of a straight road."""
    matrix = np.eye(4)
    matrix[:2, 3] = x, y
    return matrix.tolist()


def recorder(root: Path) -> Callable[..., RouteData]:
    """A function that writes runs below ``root``: ``record(measurement={...}, road={...}, boxes=..., speed=..., frames=...)``.

    ``boxes`` and ``measurement`` may be functions of the frame number. The ego drives along x at constant speed.
    """
    made: list[RunFolder] = []

    def write(
        measurement: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] = {},  # noqa: B006
        road: Mapping[str, Any] = {},
        boxes: Boxes = (),
        speed: float = 8.0,
        frames: int = 12,
        group: str = "training_1_scenario",
    ) -> RouteData:
        name = f"simlingo/{group}/routes_training/seed_1/Town12_Rep0_{len(made)}_route0_01_01_00_00_00"
        run = RunFolder(root, Path(name))
        made.append(run)
        for number in range(frames):
            x = speed * 0.25 * number
            changed = measurement(number) if callable(measurement) else measurement
            values = {"speed": speed, "throttle": 0.2, "pos_global": [x, 0.0], "ego_matrix": pose(x), **changed}
            things = boxes(number) if callable(boxes) else boxes
            ego = EgoCarBox(
                extent=[2.4, 1.0, 0.75], position=[0.0, 0.0, 0.0], distance=-1, speed=values["speed"], brake=0.0, id=1,
                matrix=pose(x),
            )  # fmt: skip
            beside = replace(CALM_ROAD, **{"left_lanes": LANES, "right_lanes": LANES, **road})
            write_measurement(run.measurement_path(number), replace(CALM_MEASUREMENT, **values))
            write_boxes(run.boxes_path(number), [ego, *things, beside])
            write_bytes(run.rgb_path(number), b"")
        scores = {"score_route": 100.0, "score_penalty": 1.0, "score_composed": 100.0}
        write_json(run.results_path, {"status": "Perfect", "num_infractions": 0, "infractions": {}, "scores": scores})
        return RouteData(run, root, CORRECTED)

    return write


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., RouteData]:
    """Writes runs of this test."""
    return recorder(tmp_path)
