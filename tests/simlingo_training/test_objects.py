"""Maps of what is to be seen where: laws of the projection, and what learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from driving.camera import DRIVING_CAMERA
from driving.records import CarBox, StaticBox, TrafficLightBox, WalkerBox
from simlingo_training import run
from simlingo_training.config import AugmentationSettings
from simlingo_training.data.dataset import choices_for
from simlingo_training.data.images import TileSpec
from simlingo_training.data.objects import KINDS, ObjectMaps, draw_objects
from simlingo_training.data.prompts import TARGET_POINT
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import ObjectHead

from .test_training import curves, small_model, small_run

GRID, SIDE, HEIGHT = (2, 1), 12, 359
NUMBER = {kind.name: number for number, kind in enumerate(KINDS, 1)}


def car(x: float, y: float, yaw: float = 0.0, **changes) -> CarBox:
    values = {
        "road_id": 1, "lane_id": 1, "lane_type_str": "Driving", "is_in_junction": False, "junction_id": -1,
        "next_junction_id": -1, "next_road_ids": [], "same_road_as_ego": True, "same_direction_as_ego": True,
        "lane_relative_to_ego": 1, "base_type": "car", "num_points": 50, "speed": 0.0,
        "brake": 0.0, "steer": 0.0, "id": 7, "role_name": "",
        "type_id": "vehicle.seat.leon", "extent": [2.1, 0.9, 0.75], "position": [x, y, 0.0], "yaw": yaw,
        "distance": float(np.hypot(x, y)),
    }  # fmt: skip
    return CarBox(**{**values, **changes})


def draw(*boxes, camera=DRIVING_CAMERA) -> ObjectMaps:
    return draw_objects(boxes, camera, GRID, SIDE, HEIGHT)


def whole(maps: ObjectMaps) -> np.ndarray:
    """The kinds of both tiles side by side."""
    return np.concatenate(list(maps.kinds), axis=1)


def test_a_thing_is_drawn_where_the_camera_sees_it_with_its_nearness():
    box = car(20.0, 3.0, lane_relative_to_ego=0)
    maps = draw(box)
    (pixel,), _ = DRIVING_CAMERA.project([(20.0, 3.0, 0.75)])
    row, column = int(pixel[1] / HEIGHT * SIDE), int(pixel[0] / 1024 * 2 * SIDE)
    assert whole(maps)[row, column] == NUMBER["vehicle in the ego's lane"]
    assert column >= SIDE
    assert not maps.kinds[0].any()
    assert (maps.kinds > 0).sum() <= 8
    drawn = maps.kinds > 0
    np.testing.assert_allclose(maps.nearness[drawn], np.exp(-box.distance / 15), rtol=1e-6)
    assert not maps.nearness[~drawn].any()


def test_every_kind_is_told_and_what_is_hidden_or_open_is_not_drawn():
    light = {"id": 1, "affects_ego": True, "distance": 15.0, "position": [15.0, 0.0, 0.0], "extent": [1.5, 1.5, 0.5]}
    walker = {"age": "adult", "num_points": 9, "speed": 1.0, "id": 2, "extent": [0.2, 0.2, 0.9], "distance": 10.0}
    prop = {"type_id": "static.prop.constructioncone", "extent": [0.2, 0.2, 0.4], "distance": 10.0}
    there = [10.0, 0.0, 0.0]
    for name, box in {
        "vehicle": car(12.0, 0.0),
        "vehicle in the ego's lane": car(12.0, 0.0, lane_relative_to_ego=0),
        "pedestrian": WalkerBox(position=[10.0, 0.0, 0.9], **walker),
        "obstacle": StaticBox(position=there, num_points=9, **prop),
        "stop line that holds": TrafficLightBox(state="Red", **light),
    }.items():
        assert set(np.unique(draw(box).kinds)) == {0, NUMBER[name]}, name
    for box in (
        car(12.0, 0.0, num_points=3),
        car(-12.0, 0.0),
        TrafficLightBox(state="Green", **light),
        TrafficLightBox(state="Red", **{**light, "affects_ego": False}),
    ):
        assert not draw(box).kinds.any()


def test_what_is_nearer_hides_what_is_behind_it_in_any_order():
    near, far = car(8.0, 0.0, extent=[3.0, 1.2, 1.6]), car(25.0, 0.0, lane_relative_to_ego=0)
    maps, turned = draw(near, far), draw(far, near)
    np.testing.assert_array_equal(maps.kinds, turned.kinds)
    np.testing.assert_array_equal(maps.kinds > 0, draw(near).kinds > 0)
    assert NUMBER["vehicle in the ego's lane"] not in maps.kinds


def random_cars(seed: int) -> list[CarBox]:
    rng = np.random.default_rng(seed)
    return [
        car(*rng.uniform((-6, -15), (45, 15)), rng.uniform(-3, 3), lane_relative_to_ego=int(rng.integers(0, 2)))
        for _ in range(6)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_mirrored_maps_are_the_maps_of_mirrored_things(seed):
    boxes = random_cars(seed)
    turned = [replace(box, position=[box.position[0], -box.position[1], 0.0], yaw=-box.yaw) for box in boxes]
    mirrored = draw(*boxes).mirrored(columns=2)
    np.testing.assert_array_equal(mirrored.kinds, draw(*turned).kinds)
    np.testing.assert_array_equal(mirrored.nearness, draw(*turned).nearness)


@pytest.mark.parametrize("seed", range(5))
def test_the_shifted_camera_sees_what_a_shifted_car_would(seed):
    boxes = random_cars(seed)
    moved = [replace(box, position=[box.position[0], box.position[1] - 1.2, 0.0]) for box in boxes]
    np.testing.assert_array_equal(draw(*boxes, camera=DRIVING_CAMERA.shifted(1.2, 0.0)).kinds, draw(*moved).kinds)


def test_the_head_reads_each_cell_from_the_token_that_covers_it():
    side, cells, tiles = 4, 3, 2
    head = ObjectHead(1, cells)
    torch.nn.init.zeros_(head.layer.bias)
    with torch.no_grad():  # every output of a token is its value, plus the cell's number
        head.layer.weight.fill_(1.0)
        head.layer.bias.copy_(torch.arange(cells**2).repeat_interleave(len(KINDS) + 2) / 100)
    values = torch.arange(tiles * side**2, dtype=torch.float32)
    read = head(values[None, :, None], tiles)
    assert read.shape == (1, tiles, side * cells, side * cells, len(KINDS) + 2)
    for tile, row, column in [(0, 0, 0), (1, 4, 11), (0, 11, 5), (1, 7, 2)]:
        token = side**2 * tile + side * (row // cells) + column // cells
        cell = cells * (row % cells) + column % cells
        assert read[0, tile, row, column, 0].item() == pytest.approx(token + cell / 100)


def object_run(data_root, out):
    settings = small_run(data_root, out, model=small_model())
    settings.data.object_cells = 3
    return settings


def test_a_mirrored_sample_is_mirrored_whole_and_only_where_no_word_names_a_side(data_root, tmp_path):
    settings = object_run(data_root, tmp_path)
    settings.data.augmentation = AugmentationSettings(shift=False, mirror_probability=0.5, colour_probability=0.0)
    settings.data.paraphrase_probability = 0.0
    settings.data.use_free_sentences = False
    data = run.simlingo_recipe(settings)[1]
    data.setup()
    changed, plain = (data.dataset(training).maker for training in (True, False))
    mirrored = 0
    for number in range(40):
        row = number * 3 % len(data._table)
        sample = changed.driving(row, *choices_for(0, number))
        same = plain.driving(row, choices_for(0, number)[0])
        assert sample.conversation == same.conversation
        if np.array_equal(sample.tiles, same.tiles):
            np.testing.assert_array_equal(sample.waypoints, same.waypoints)
            np.testing.assert_array_equal(sample.objects.kinds, same.objects.kinds)
            continue
        mirrored += 1
        assert sample.conversation.task == "driving"
        assert TARGET_POINT in sample.conversation.prompt
        np.testing.assert_array_equal(sample.tiles, same.tiles[::-1, :, ::-1])
        np.testing.assert_array_equal(sample.objects.kinds, same.objects.mirrored(2).kinds)
        for name in ("waypoints", "path", "target_points"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(same, name) * [1, -1])
    assert 3 <= mirrored <= 20


def test_the_vision_side_learns_from_the_maps_and_the_checkpoint_is_the_network_alone(data_root, tmp_path):
    settings = object_run(data_root, tmp_path)
    settings.trainer.max_epochs, settings.trainer.log_every_n_steps = 3, 1
    run.train(settings)
    found = [curves(tmp_path)[step, "train_losses/object_loss"] for step in range(12)]
    assert np.mean(found[-4:]) < 0.95 * np.mean(found[:2])
    weights = checkpoints.load(tmp_path / "checkpoints" / "last").model.state_dict()
    assert not [name for name in weights if "object" in name]
    checkpoint, data, module = run.simlingo_recipe(settings)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    module.losses(module(batch), batch).points["object_loss"].mean().backward()
    vision, projector = checkpoint.model.backbone.vision_modules()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for part in (vision, projector) for p in part.parameters())
    assert all(p.grad is None for p in checkpoint.model.backbone.decoder().parameters())


@pytest.mark.parametrize("change", [{"strategy": "fsdp2"}, {"thumbnail": True}])
def test_maps_are_refused_where_they_cannot_be_learnt(data_root, tmp_path, change):
    settings = object_run(data_root, tmp_path)
    if "strategy" in change:
        settings.trainer = replace(settings.trainer, **change)
    else:
        settings.model.tiles = TileSpec(192, thumbnail=True)
    with pytest.raises(ValueError, match="object_cells"):
        run.simlingo_recipe(settings)
