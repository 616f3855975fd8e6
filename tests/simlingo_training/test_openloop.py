"""Errors of a checkpoint on recorded drives, split by what the expert does next."""

import json

import numpy as np
import pytest
import torch

from simlingo_training.evaluation import openloop
from simlingo_training.evaluation.openloop import REGIMES, Motion
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import point_loss
from tests.simlingo_training.test_training import small_model


def motion(speed, end_speed, lateral=0.0):
    waypoints = np.zeros((1, 10, 2))
    waypoints[:, -1, 1] = lateral
    return Motion(np.array([speed]), np.array([end_speed]), waypoints)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (motion(0.0, 0.0), ["standing"]),
        (motion(0.0, 3.0), ["moving off"]),
        (motion(6.0, 0.0), ["coming to a stop"]),
        (motion(6.0, 3.0), ["braking"]),
        (motion(1.0, 0.4), ["coming to a stop"]),
        (motion(6.0, 9.0), ["speeding up"]),
        (motion(6.0, 7.0, lateral=-3.0), ["holding speed", "turning"]),
    ],
)
def test_a_frame_belongs_to_one_regime_and_maybe_to_turning(case, expected):
    on_the_way = [] if expected == ["standing"] else ["not standing"]
    assert [regime.name for regime in REGIMES if regime.holds(case)] == [*expected, *on_the_way]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openloop") / "checkpoint"
    checkpoints.save(checkpoints.build(small_model(straight_prior=True, max_new_tokens=4)), folder)
    return folder


def test_an_untrained_model_with_the_prior_is_the_straight_driver(untrained, data_root, capsys):
    command = ["--checkpoint", str(untrained), "--data", str(data_root), "--every", "7", "--device", "cpu"]
    assert openloop.main(command) == 0
    shown, last = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    found = json.loads(last)["errors"]
    assert found["all"]["frames"] == sum(found[r.name]["frames"] for r in REGIMES[:6] if r.name in found)
    for name, values in found.items():
        assert name in shown
        for metric in ("path_ade", "path_fde", "waypoint_ade", "waypoint_fde"):
            assert values[metric] == pytest.approx(values[f"straight_{metric}"], abs=1e-4), (name, metric)


def test_buckets_are_rows_of_the_table(untrained, data_root, tmp_path, capsys):
    run = next(data_root.glob("data/*/*/*/*/Mini01*"))
    paths = [str(run.relative_to(data_root.parent) / f"measurements/{frame:04d}.json.gz") for frame in (0, 5, 6, 10)]
    buckets = tmp_path / "buckets.json"
    buckets.write_text(json.dumps({"leading_object_vehicle": paths}))
    command = ["--checkpoint", str(untrained), "--data", str(data_root), "--every", "5", "--buckets", str(buckets)]
    assert openloop.main([*command, "--device", "cpu", "--commentary"]) == 0
    found = json.loads(capsys.readouterr().out.rstrip().rsplit("\n", 1)[1])["errors"]
    assert 1 <= found["bucket leading_object_vehicle"]["frames"] <= 3


def test_wrong_input_is_one_message(untrained, tmp_path, capsys):
    assert openloop.main(["--checkpoint", str(untrained), "--data", str(tmp_path), "--device", "cpu"]) == 2
    assert "data does not exist" in capsys.readouterr().err


def test_a_late_turning_point_teaches_to_creep():
    """Six times in ten a car at a light stays, else it drives 3 m: what loses least then."""
    driven = torch.zeros(10, 1, 2)
    driven[6:, 0, 0] = 3.0
    guesses = torch.linspace(0, 3, 301)
    best = {}
    for turning_point in (0.1, 1.0):
        losses = [point_loss(torch.tensor([g, 0.0]).expand_as(driven), driven, turning_point).mean() for g in guesses]
        best[turning_point] = float(guesses[int(torch.stack(losses).argmin())])
    # Against a parabola up to t and lines behind it, x / t = 4 / 6 balances six pulls back with four ahead.
    assert best[1.0] == pytest.approx(4 / 6, abs=0.02)
    assert best[0.1] == pytest.approx(0.4 / 6, abs=0.02)
