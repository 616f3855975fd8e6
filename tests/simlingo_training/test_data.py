"""Images, labels, augmentation, sampling and batches: laws that hold for any data."""

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from dataset_generation.index import build_index
from driving.camera import jpeg_round_trip
from driving.evaluation_sets import is_for_evaluation
from driving.records import RunFolder, hash_held_out
from driving.route import resample_path, shift_view
from simlingo_training.config import AugmentationSettings, CacheSettings, DataSettings
from simlingo_training.data import prompts
from simlingo_training.data.augment import OPERATORS, STRONG_OPERATORS, augment
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Stacks
from simlingo_training.data.dataset import Draw, TileStore, mirror_tiles, view_of
from simlingo_training.data.images import TileSpec, camera_to_tiles, closest_grid, tile_image
from simlingo_training.data.module import STAGED, SimLingoData, make_pools, prestage
from simlingo_training.data.sampler import (
    BucketSampler,
    FixedSampler,
    Pool,
    expected_shares,
    published_epoch_size,
    quotas,
)
from simlingo_training.data.table import TableOptions, bucket_key, load_table, read_run
from simlingo_training.data.tasks import Scene, draw_instruction, parse_dreams
from tests.simlingo_training.conftest import make_run


@pytest.fixture(scope="module")
def data(data_root, tmp_path_factory):
    module = SimLingoData(make_settings(data_root, tmp_path_factory), TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    return module


def make_settings(root, tmp_path_factory, **changes):
    cache = CacheSettings(table_dir=str(tmp_path_factory.mktemp("table")))
    values = {"batch_size": 6, "num_workers": 0, "val_fraction": 0.25, "samples_per_epoch": 48, "cache": cache}
    return DataSettings(root=str(root), **{**values, **changes})


def tokenizer():
    return ChatTokenizer.load("packaged")


def picture(height=359, width=1024, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_camera_image_becomes_a_left_and_a_right_tile():
    image = np.zeros((512, 1024, 3), np.uint8)
    image[:, 512:] = 200
    tiles = camera_to_tiles(image, TileSpec(64))
    assert tiles.shape == (2, 64, 64, 3)
    assert tiles[0, :, :60].max() == 0
    assert tiles[1, :, 4:].min() == 200


@pytest.mark.parametrize(
    ("aspect", "limit", "grid"), [(2.85, 2, (2, 1)), (1.0, 2, (1, 1)), (0.4, 2, (1, 2)), (2.85, 6, (3, 1))]
)
def test_grid_choice(aspect, limit, grid):
    assert closest_grid(aspect, limit) == grid


def test_thumbnail_is_the_last_tile_and_is_counted():
    spec = TileSpec(32, 2, thumbnail=True)
    assert len(tile_image(picture(), spec)) == spec.num_tiles() == 3


@pytest.mark.parametrize(("limit", "thumbnail"), [(2, False), (2, True), (1, False)])
def test_mirrored_tiles_are_the_tiles_of_the_mirrored_picture(limit, thumbnail):
    spec, image = TileSpec(32, limit, thumbnail), picture()
    columns, _ = spec.grid(*image.shape[:2])
    mirrored = mirror_tiles(tile_image(image, spec), columns).astype(int)
    expected = tile_image(np.ascontiguousarray(image[:, ::-1]), spec).astype(int)
    assert np.abs(mirrored - expected).max() <= 2


def test_images_of_another_type_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        tile_image(picture().astype(np.float32), TileSpec(32))


def test_training_and_driving_see_the_same_tiles(data, tmp_path):
    """One camera frame, written and read as training does, or passed on as the agent does."""
    import cv2

    bgr = picture(512, 1024, seed=3)
    cv2.imwrite(str(tmp_path / "0000.jpg"), bgr)
    training = TileStore(TileSpec(48), cut=True).tiles(tmp_path / "0000.jpg")
    driving = camera_to_tiles(cv2.cvtColor(jpeg_round_trip(bgr), cv2.COLOR_BGR2RGB), TileSpec(48))
    np.testing.assert_array_equal(training, driving)


def test_path_labels_start_at_the_origin_and_step_one_metre():
    angle = np.linspace(0, 1.2, 60)
    curve = np.stack([30 * np.sin(angle), 30 * (1 - np.cos(angle))], axis=1)[1:]
    path = resample_path(curve)
    np.testing.assert_array_equal(path[0], [0, 0])
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), 1.0, atol=5e-3)


def test_a_short_path_repeats_its_end():
    path = resample_path([[2.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(path[5:], [[4.0, 0.0]] * 15)


def test_shifted_view_moves_the_origin_and_turns():
    np.testing.assert_allclose(shift_view([[0.0, 1.5]], 1.5, 20.0), [[0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(shift_view([[0.0, 1.0]], 0.0, 90.0), [[1.0, 0.0]], atol=1e-12)


def test_labels_of_the_shifted_camera_contain_the_correction(data):
    row = data._table.rows[0]
    plain, shifted = view_of(row, False), view_of(row, True)
    np.testing.assert_allclose(shifted.waypoints - plain.waypoints, [[0.0, -0.5]] * 10, atol=1e-9)
    np.testing.assert_array_equal(shifted.path[0], [0, 0])


def test_waypoints_are_the_positions_of_the_following_frames(data):
    rows = data._table.rows
    run = rows[rows["run"] == 0]
    speeds = np.linalg.norm(np.diff(run["waypoints"][0], axis=0), axis=1) / 0.25
    np.testing.assert_allclose(speeds, run["speed"][1:10], atol=1.01)  # positions lie on a 0.25 m grid


def test_waypoints_keep_their_times_where_a_measurement_is_missing(tmp_path):
    run = make_run(tmp_path, "Mini01_Rep0_0_route0_01_01_00_00_00", seed=2, num_frames=20)
    whole = read_run(run, TableOptions(skip_first=0))["waypoints"][5]
    run.measurement_path(9).unlink()
    broken = read_run(run, TableOptions(skip_first=0))["waypoints"][5]
    np.testing.assert_array_equal(broken[3], whole[2])
    np.testing.assert_array_equal(np.delete(broken, 3, 0), np.delete(whole, 3, 0))


@pytest.mark.parametrize("operator", [*OPERATORS, *STRONG_OPERATORS], ids=lambda row: row.name)
def test_every_picture_operator_keeps_shape_and_depends_on_its_generator_only(operator):
    image = picture(96, 192)
    first, second = (operator.apply(image, np.random.default_rng(5)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_pixel_dropout_blackens_between_one_and_ten_percent():
    image = np.full((200, 200, 3), 255, np.uint8)
    dropout = next(row for row in OPERATORS if row.name == "dropout")
    shares = [(dropout.apply(image, np.random.default_rng(seed)) == 0).mean() for seed in range(20)]
    assert 0.008 < min(shares) < max(shares) < 0.11


def test_probability_zero_changes_nothing():
    image = picture(48, 96)
    np.testing.assert_array_equal(augment(image, 0.0, np.random.default_rng(0)), image)


def test_a_sample_depends_on_seed_and_number_alone(data):
    dataset, other = data.dataset(training=True), data.dataset(training=True)
    draw = Draw("driving", 3, 17, "all")
    other[Draw("driving", 9, 1, "all")]
    first, second = dataset[draw], other[draw]
    assert first.row == second.row
    np.testing.assert_array_equal(first.sample.tiles, second.sample.tiles)
    texts = {dataset[replace(draw, number=number)].sample.conversation.prompt for number in range(12)}
    assert len(texts) > 1


def test_worker_processes_do_not_change_the_batches(data):
    alone = list(data.train_dataloader())
    data.settings.num_workers = 2
    data.sampler.set_epoch(0)
    together = list(data.train_dataloader())
    data.settings.num_workers = 0
    assert [batch.prompts for batch in alone] == [batch.prompts for batch in together]
    assert all(torch.equal(a.inputs.tiles, b.inputs.tiles) for a, b in zip(alone, together))


def test_a_batch_predicts_answer_and_header_tokens_only(data):
    batch = next(iter(data.train_dataloader()))
    inputs = batch.inputs
    words = tokenizer()
    for row in range(len(batch)):
        mine = inputs.supervised[0] == row
        answer = words.encode(prompts.ASSISTANT_HEADER + prompts.chat_answer(batch.answers[row]))
        assert inputs.targets[mine].tolist() == answer
        places = inputs.supervised[1][mine]
        assert int(places[-1]) == int(inputs.lengths[row]) - 2
        assert inputs.ids[row, places + 1].tolist() == answer
        assert (inputs.ids[row] == words.image_token).sum() == 8


def test_quotas_add_up_and_are_close():
    shares = np.array([0.082, 0.5, 0.418])
    assert quotas(shares, 1000).tolist() == [82, 500, 418]
    assert quotas(np.full(7, 1 / 7), 10).sum() == 10


def pools():
    rows = np.arange(1000)
    return [
        Pool("all", "driving", rows, 0.5),
        Pool("rare", "driving", rows[:20], 0.3),
        Pool("dream", "dreamer", rows[:300], 0.2),
    ]


@pytest.mark.parametrize("mode", ["intended", "published"])
def test_realised_shares_are_the_expected_ones(mode):
    sampler = BucketSampler(pools(), 4000, mode, seed=3)
    found, rows = sampler.draws()
    counts = np.bincount(found, minlength=3) / 4000
    np.testing.assert_allclose(counts, expected_shares(pools(), mode), atol=1 / 4000)
    weights = {"intended": [0.5, 0.3, 0.2], "published": np.array([500, 6, 60]) / 566}[mode]
    np.testing.assert_allclose(counts, weights, atol=1e-3)
    rare = np.bincount(rows[found == 1], minlength=20)
    assert rare.max() - rare.min() <= 1


def test_published_epoch_size():
    assert published_epoch_size(pools()) == 66


def test_text_and_dreams_of_runs_for_evaluation_are_not_trained_on(data_root, tmp_path, tmp_path_factory):
    for tree in ("data", "commentary", "drivelm", "dreamer"):
        (tmp_path / tree / "simlingo").mkdir(parents=True)
        for name in ("training_1_scenario", "validation_1_scenario"):
            (tmp_path / tree / "simlingo" / name).symlink_to(data_root / tree / "simlingo" / "training_1_scenario")
    settings = make_settings(tmp_path, tmp_path_factory, val_fraction=0.0, dreamer_share=0.5)
    module = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    table = module._table
    kept_back = table.run_flags(is_for_evaluation(run) for run in table.runs)
    assert 2 * kept_back.sum() == len(table)
    drawn = {pool.kind: kept_back[pool.rows] for pool in module.sampler.pools}
    assert drawn["driving"].any()
    assert not drawn["dreamer"].any()

    def tasks(training, row):
        dataset = module.dataset(training)
        return {dataset[Draw("driving", row, number, "all")].sample.conversation.task for number in range(24)}

    row = int(np.flatnonzero(kept_back)[0])
    assert tasks(True, row) == {"driving"}
    assert tasks(False, row) >= {"commentary", "vqa"} <= tasks(True, int(np.flatnonzero(~kept_back)[0]))


@pytest.mark.parametrize(("count", "world"), [(9, 2), (7, 8), (12, 3), (5, 1)])
def test_processes_validate_equally_many_samples_without_overlap(count, world):
    """A model that is divided among processes would wait for ever for the one that has a batch less."""
    parts = [list(FixedSampler(range(count), rank, world)) for rank in range(world)]
    assert {len(part) for part in parts} == {count // world}
    assert sorted(place for part in parts for place in part) == list(range(count // world * world))


def test_processes_share_an_epoch_without_overlap_and_epochs_differ():
    parts = [list(BucketSampler(pools(), 100, seed=1, rank=rank, world=3)) for rank in range(3)]
    numbers = sorted(draw.number for part in parts for draw in part)
    assert numbers == list(range(99))
    sampler = BucketSampler(pools(), 100, seed=1)
    first = [draw.row for draw in sampler]
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != [draw.row for draw in second]
    assert second[0].number == 100


def test_skipped_draws_are_those_already_seen():
    whole = list(BucketSampler(pools(), 100, seed=1))
    sampler = BucketSampler(pools(), 100, seed=1)
    sampler.skip = 30
    assert list(sampler) == whole[30:]
    assert len(sampler) == 100


def test_fixed_samples_come_again_in_every_epoch_and_keep_the_shares():
    sampler = BucketSampler(pools(), 100, seed=1, distinct=20)
    first = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == first
    assert len(set(first)) == 20
    assert all(first.count(draw) == 5 for draw in first)
    assert [sum(draw.bucket == name for draw in first) for name in ("all", "rare", "dream")] == [50, 30, 20]
    parts = [list(BucketSampler(pools(), 100, seed=1, rank=rank, world=2, distinct=20)) for rank in range(2)]
    assert [draw for pair in zip(*parts) for draw in pair] == first


def test_memory_of_a_batch_is_used_again_only_when_nobody_holds_it():
    stacks = Stacks()
    first, second = (torch.from_numpy(stacks.take((2, 3))) for _ in range(2))
    part, place = first[1:], first.data_ptr()
    assert second.data_ptr() != place
    del first
    assert stacks.take((2, 3)).ctypes.data != place
    del part
    assert stacks.take((2, 3)).ctypes.data == place
    assert stacks.take((3, 3)).shape == (3, 3)


def test_an_epoch_without_a_whole_batch_is_refused(data_root, tmp_path_factory):
    settings = make_settings(data_root, tmp_path_factory, batch_size=6, samples_per_epoch=5)
    module = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    with pytest.raises(ValueError, match=r"data\.batch_size"):
        module.train_dataloader()


def test_an_empty_bucket_is_refused():
    with pytest.raises(ValueError, match="rare"):
        BucketSampler([replace(pools()[1], rows=np.array([], dtype=int))], 10)


def test_the_share_of_an_empty_bucket_goes_to_the_other_buckets_only(data_root, tmp_path_factory):
    """Else runs that differ in what they dream would differ in it by what their buckets lack, too."""
    module = SimLingoData(make_settings(data_root, tmp_path_factory), TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    every = np.arange(len(module._table))
    settings = replace(module.settings, dreamer_share=0.5, bucket_weights={"all": 0.2, "few": 0.2, "none": 0.6})
    rows = {"all": every, "few": every[:3], "none": every[:0]}
    made = make_pools(module._table, every >= 0, settings, rows)
    assert {pool.bucket: pool.weight for pool in made} == pytest.approx({"all": 0.25, "few": 0.25, "all_dreamer": 0.5})
    alone = replace(settings, bucket_weights={"none": 1.0})
    with pytest.raises(ValueError, match=r"none of the buckets \['none'\]"):
        make_pools(module._table, every >= 0, alone, rows)
    only_dreams = make_pools(module._table, every >= 0, replace(alone, dreamer_share=1.0), rows)
    assert [pool.bucket for pool in only_dreams] == ["all_dreamer"]


def test_data_of_which_nothing_is_for_training_are_refused(data_root, tmp_path_factory):
    settings = make_settings(data_root, tmp_path_factory, split_by_town=True, samples_per_epoch=None)
    module = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    table = load_table(data_root, TableOptions(), settings.cache.table_dir)
    with pytest.raises(ValueError, match=r"data\.split_by_town"):
        make_pools(table, np.zeros(len(table), bool), module.settings, {"all": np.arange(len(table))})


def made_runs(count, date="01_01_00_00_00", weather="default", repetition=0):
    folder = Path("simlingo/set/routes_training") / weather
    return [RunFolder(Path("root"), folder / f"Mini01_Rep{repetition}_{n}_route0_{date}") for n in range(count)]


def test_repeats_of_a_route_in_other_weather_are_held_out_with_it():
    """What was driven in training must not be judged again in the rain."""
    weathers = ["random_weather_seed_1", "random_weather_seed_2", "random_weather_seed_17"]
    repeats = [made_runs(400, weather=weather, repetition=number) for number, weather in enumerate(weathers)]
    held_out = {run.key for run in hash_held_out([run for runs in repeats for run in runs], 0.1)}
    assert 60 < len(held_out) < 180
    for runs in zip(*repeats, strict=True):
        assert len({run.key in held_out for run in runs}) == 1
    one_route = [run for runs in repeats for run in runs[:1]]
    assert hash_held_out(one_route, 0.5) == [], "something must be left to train on"
    two_routes = [run for runs in repeats for run in runs[:2]]
    assert len(hash_held_out(two_routes, 0.9)) == 3


def test_held_out_routes_do_not_depend_on_the_date_or_on_other_routes():
    few = hash_held_out(made_runs(9), 0.15)
    assert [run.route_file for run in few] == [
        run.route_file for run in hash_held_out(made_runs(9, "12_31_23_59_59"), 0.15)
    ]
    assert len(few) == 1
    many, more = hash_held_out(made_runs(400), 0.1), hash_held_out(made_runs(800), 0.1)
    assert set(many) == {run for run in more if int(run.route_file) < 400}
    assert 20 < len(many) < 60
    assert hash_held_out(made_runs(9), 0.0) == []


def test_validation_frames_count_for_their_rarest_bucket(data_root, tmp_path, tmp_path_factory):
    from driving.files import write_json

    module = SimLingoData(make_settings(data_root, tmp_path_factory), TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    frames = [draw.row for draw in module._validation if draw.kind == "driving"]
    table = module._table

    def path(row):
        run, frame = table.key(row).rsplit("/", 1)
        return f"database/simlingo/data/{run}/measurements/{frame}.json.gz"

    content = {"common": [path(row) for row in frames[:6]], "rare": [path(row) for row in frames[4:6]]}
    content = {name: [*paths, path(0)] for name, paths in content.items()}
    write_json(tmp_path / "buckets.json", content)
    settings = make_settings(
        data_root, tmp_path_factory, buckets=str(tmp_path / "buckets.json"),
        bucket_weights={"all": 0.5, "common": 0.3, "rare": 0.2},
    )  # fmt: skip
    module = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    module.setup()
    found = {draw.row: draw.bucket for draw in module._validation if draw.kind == "driving"}
    assert [found[row] for row in frames[:7]] == ["common"] * 4 + ["rare"] * 2 + ["all"]


def test_training_and_validation_frames_are_of_different_runs(data):
    table = data._table
    validation = {int(table.rows["run"][draw.row]) for draw in data._validation}
    training = {int(table.rows["run"][row]) for pool in data.sampler.pools for row in pool.rows}
    assert validation
    assert not validation & training


def test_the_table_is_rebuilt_only_for_runs_that_changed(data_root, tmp_path, monkeypatch):
    from simlingo_training.data import table as tables

    first = load_table(data_root, TableOptions(), tmp_path)
    monkeypatch.setattr(tables, "read_run", lambda *_: pytest.fail("read again"))
    again = load_table(data_root, TableOptions(), tmp_path)
    np.testing.assert_array_equal(first.rows, again.rows)


def indexed_root(data_root, folder):
    """The made-up data set with an index of its own."""
    root = folder / "simlingo"
    root.mkdir(parents=True)
    for tree in data_root.iterdir():
        (root / tree.name).symlink_to(tree)
    build_index(root, jobs=1, show_progress=False)
    return root


def test_a_table_of_the_index_is_that_of_the_files_without_a_look_into_folders(data_root, tmp_path, monkeypatch):
    from simlingo_training.data import table as tables

    options = TableOptions(skip_first=3, pred_len=11)
    of_files = load_table(data_root, options, tmp_path / "files")
    root = indexed_root(data_root, tmp_path)
    for name in ("find_runs", "read_run", "_rejection"):
        monkeypatch.setattr(tables, name, lambda *_: pytest.fail("looked into folders"))
    of_index = load_table(root, options, tmp_path / "index")
    np.testing.assert_array_equal(of_index.rows, of_files.rows)
    assert [run.key for run in of_index.runs] == [run.key for run in of_files.runs]
    monkeypatch.setattr(tables, "read_index", lambda *_: pytest.fail("read again"))
    again = load_table(root, options, tmp_path / "index")
    assert isinstance(again.rows, np.memmap)
    np.testing.assert_array_equal(again.rows, of_files.rows)


def test_an_index_of_another_version_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"run": ["a"], "frame": [3]}), tmp_path / "index.parquet")
    with pytest.raises(ValueError, match=r"waypoints.*dataset_generation\.index"):
        load_table(tmp_path, TableOptions(), tmp_path)
    (tmp_path / "index.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ValueError, match="not a Parquet file"):
        load_table(tmp_path, TableOptions(), tmp_path)


@pytest.mark.parametrize("target", [(896, 448), (384, 192), (100, 700), (33, 17)])
def test_resizing_is_pillows_to_the_bit(target):
    from PIL import Image

    from simlingo_training.data.bicubic import resize

    for seed in range(3):
        image = picture(seed=seed)
        expected = np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(resize(image, *target), expected)


def test_a_packed_data_set_gives_the_same_samples(data_root, tmp_path, tmp_path_factory):
    import tarfile

    from simlingo_training.data.shards import PackedFiles, main

    root = indexed_root(data_root, tmp_path)
    packed = tmp_path / "packed"
    assert main(["--data", str(root), "--out", str(packed), "--shard-gb", "0.0005"]) == 0
    assert len(list(packed.glob("shard-*.tar"))) > 2
    batches = []
    for place in (root, packed):
        module = SimLingoData(make_settings(place, tmp_path_factory), TileSpec(48), tokenizer(), 4, seed=1)
        module.setup()
        batches.append(list(module.train_dataloader()))
    for plain, other in zip(*batches, strict=True):
        assert (plain.keys, plain.prompts, plain.answers) == (other.keys, other.prompts, other.answers)
        assert torch.equal(plain.inputs.tiles, other.inputs.tiles)
        assert torch.equal(plain.waypoints, other.waypoints)
    with tarfile.open(next(iter(sorted(packed.glob("shard-*.tar"))))) as tar:
        member = tar.getmembers()[-1]
        content = tar.extractfile(member).read()
    files = PackedFiles(packed)
    assert files.read(packed / member.name) == content == (root / member.name).read_bytes()
    with pytest.raises(FileNotFoundError, match="pack the data set again"):
        files.read(packed / "data/none/rgb/0000.jpg")
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(packed)]) == 2


def test_a_prestaged_copy_is_read_and_made_once(data_root, tmp_path, monkeypatch, tmp_path_factory):
    from simlingo_training.data import module as modules

    cache = CacheSettings(table_dir=str(tmp_path / "t"), use_data_prestage=True, cache_dir=str(tmp_path / "node"))
    settings = make_settings(data_root, tmp_path_factory, cache=cache)
    first = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    first.prepare_data()
    first.setup()
    assert first._table.root.parent == tmp_path / "node" / "data"
    copied = list(first._table.root.rglob("*.jpg"))
    assert len(copied) == len(list(data_root.rglob("*.jpg")))
    monkeypatch.setattr(modules.shutil, "copyfile", lambda *_: pytest.fail("copied again"))
    again = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
    again.prepare_data()
    again.setup()
    usage = modules.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(modules.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match="cache_dir"):
        modules.prestage(data_root, tmp_path / "other")


def test_a_prestaged_copy_follows_the_data_root(tmp_path, tmp_path_factory):
    """Labels made again may be as long as before; runs may be moved aside; two roots may have one name."""
    roots = [tmp_path / name / "simlingo" for name in ("mine", "yours")]
    for root in roots:
        root.mkdir(parents=True)
        (root / "label").write_text("no")
        (root / "run").write_text("x")
    caches = CacheSettings(use_data_prestage=True, cache_dir=str(tmp_path / "node"))
    staged = [SimLingoData(make_settings(root, tmp_path_factory, cache=caches), TileSpec(48), tokenizer(), 4, seed=1)
              for root in roots]  # fmt: skip
    assert staged[0].root != staged[1].root
    copy = prestage(roots[0], staged[0].root)
    (roots[0] / "label").write_text("ja")
    os.utime(roots[0] / "label", (1e9, 1e9))
    (roots[0] / "run").unlink()
    prestage(roots[0], copy)
    assert (copy / "label").read_text() == "ja"
    assert {path.name for path in copy.iterdir()} == {"label", STAGED}


def test_a_prestaged_copy_holds_what_links_lead_to(data_root, tmp_path):
    """Trees of large data sets often lie on other disks."""
    root = tmp_path / "root"
    root.mkdir()
    for tree in data_root.iterdir():
        (root / tree.name).symlink_to(tree)
    copy = prestage(root, tmp_path / "copy")
    assert len(list(copy.rglob("*.jpg"))) == len(list(data_root.rglob("*.jpg"))) > 0
    with pytest.raises(ValueError, match="lies in the data root"):
        prestage(root, root / "cache" / "data")


def test_tiles_of_a_data_set_that_was_packed_again_are_read_again(data_root, tmp_path):
    """The pictures of a new recording may be as long as the old ones."""
    from simlingo_training.data.shards import open_files, pack

    root = tmp_path / "data set"
    make_run(root, "Mini01_Rep0_0_route0_01_01_00_00_00", seed=0, num_frames=3)
    build_index(root, jobs=1, show_progress=False)
    tiles = []
    for shade in (40, 200):
        for place in root.rglob("rgb/*.jpg"):
            content = cv2.imencode(".jpg", np.full((512, 1024, 3), shade, np.uint8))[1].tobytes()
            place.write_bytes(content.ljust(20000, b"\0"))
        pack(root, tmp_path / "packed", 10**9)
        store = TileStore(
            TileSpec(48), cut=True, folder=tmp_path / "tiles", gigabytes=1.0, files=open_files(tmp_path / "packed")
        )
        picture = next(root.rglob("rgb/*.jpg")).relative_to(root)
        tiles.append(int(store.tiles(tmp_path / "packed" / picture).mean()))
    assert tiles == pytest.approx([40, 200], abs=2)


@pytest.mark.parametrize("indexed", [False, True])
def test_frames_that_lost_their_picture_are_left_out(indexed, tmp_path):
    run = make_run(tmp_path, "Mini01_Rep0_0_route0_01_01_00_00_00", seed=0, num_frames=20)
    run.rgb_path(3).unlink()
    if indexed:
        build_index(tmp_path, jobs=1, show_progress=False)
    table = load_table(tmp_path, TableOptions(skip_first=1), tmp_path / "table")
    assert table.rows["frame"].tolist() == [1, 2, 4, 5]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_run_without_pictures_is_left_out(indexed, tmp_path):
    """As where an archive was not unpacked to its end."""
    runs = [make_run(tmp_path, f"Mini01_Rep0_{n}_route0_01_01_00_00_00", seed=n, num_frames=14) for n in range(2)]
    shutil.rmtree(runs[0].path / "rgb")
    if indexed:
        build_index(tmp_path, jobs=1, show_progress=False)
    table = load_table(tmp_path, TableOptions(skip_first=0), tmp_path / "table")
    assert [run.key for run in table.runs] == [runs[1].key]
    assert table.rejected == {"too short for one sample": 1}


def test_a_table_knows_when_the_shifted_pictures_are_gone(tmp_path):
    run = make_run(tmp_path, "Mini01_Rep0_0_route0_01_01_00_00_00", seed=0, num_frames=16)
    options = TableOptions(skip_first=0)
    assert load_table(tmp_path, options).rows["has_shifted_view"].all()
    for path in (run.path / "rgb_augmented").iterdir():
        path.unlink()
    assert not load_table(tmp_path, options).rows["has_shifted_view"].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_put_rows_of_similar_length_together_and_lose_nothing(data_root, tmp_path_factory, workers):
    def batches(window, resume=(0, 0)):
        settings = make_settings(
            data_root, tmp_path_factory, length_window=window, samples_per_epoch=60, num_workers=workers
        )
        module = SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1)
        module.setup()
        module._resume = resume
        return list(module.train_dataloader())

    plain, windowed = batches(1), batches(5)
    assert len(plain) == len(windowed) == 10
    names = [
        sorted((key, text) for b in part for key, text in zip(b.keys, b.prompts)) for part in (plain[:5], windowed[:5])
    ]
    assert names[0] == names[1]
    assert sum(b.padding_share for b in windowed) < 0.7 * sum(b.padding_share for b in plain)
    assert [b.keys for b in batches(5, resume=(0, 7))] == [b.keys for b in windowed[7:]]


def test_routes_the_expert_failed_are_left_out(data_root, tmp_path):
    import shutil

    from driving.files import read_json, write_json

    copy = tmp_path / "simlingo"
    shutil.copytree(data_root, copy, ignore=shutil.ignore_patterns("rgb_augmented", ".frame_table"))
    results = sorted(copy.rglob("results.json.gz"))
    failed = read_json(results[0])
    failed["scores"]["score_composed"] = 40.0
    failed["infractions"] = {"collisions_vehicle": ["hit"]}
    failed["num_infractions"] = 1
    write_json(results[0], failed)
    results[1].unlink()
    table = load_table(copy, TableOptions(), tmp_path / "t")
    assert len(table.runs) == 2
    assert table.rejected == {"the drive was not clean": 1, "no results file": 1}


def test_missing_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="data"):
        load_table(tmp_path / "nowhere", TableOptions(), tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match=r"dataset_generation\.collect"):
        load_table(tmp_path, TableOptions(), tmp_path)


def test_the_disk_caches_of_all_processes_share_the_room(data_root, tmp_path_factory):
    module = SimLingoData(make_settings(data_root, tmp_path_factory), TileSpec(48), tokenizer(), 4, seed=1)
    module.trainer = SimpleNamespace(num_devices=3, global_rank=0, world_size=3)
    module.setup()
    shares = [1 / module._cache_parts(training) for training in (True, False)]
    assert 3 * sum(shares) == pytest.approx(1)
    assert shares[0] > shares[1] > 0


def test_a_full_disk_ends_the_cache_and_not_the_training(data, tmp_path, monkeypatch):
    from simlingo_training.data import dataset

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "atomic_writer", full)
    path = data._table.runs[0].rgb_path(0)
    store = TileStore(TileSpec(48), cut=True, folder=tmp_path, gigabytes=1.0)
    np.testing.assert_array_equal(store.tiles(path), TileStore(TileSpec(48), cut=True).tiles(path))
    monkeypatch.setattr(dataset, "atomic_writer", lambda _: pytest.fail("tried again"))
    store.tiles(path)


def test_a_missing_image_is_named(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"0007\.jpg"):
        data.dataset(training=False).maker.store.tiles(tmp_path / "0007.jpg")


def test_unknown_bucket_names_are_refused(data_root, tmp_path, tmp_path_factory):
    from driving.files import write_json

    write_json(tmp_path / "buckets.json", {"vehicle_front": []})
    settings = make_settings(
        data_root,
        tmp_path_factory,
        buckets=str(tmp_path / "buckets.json"),
        bucket_weights={"all": 1.0, "vehicle_frnt": 1.0},
    )
    with pytest.raises(ValueError, match="vehicle_frnt"):
        SimLingoData(settings, TileSpec(48), tokenizer(), 4, seed=1).setup()


def test_bucket_paths_match_under_any_root():
    run = "simlingo/training_1_scenario/routes_training/w/Town12_Rep0_1_route0_x"
    for prefix in ("database/simlingo/", "/mnt/data/other/", ""):
        assert bucket_key(f"{prefix}data/{run}/measurements/0012.json.gz") == f"{run}/0012"


def test_tile_caches_return_what_was_read(data, tmp_path):
    path = data._table.runs[0].rgb_path(5)
    plain = TileStore(TileSpec(48), cut=True).tiles(path)
    disk = TileStore(TileSpec(48), cut=True, folder=tmp_path, gigabytes=1.0)
    np.testing.assert_array_equal(disk.tiles(path), plain)
    assert list(tmp_path.rglob("*.npy"))
    np.testing.assert_array_equal(disk.tiles(path), plain)
    full = TileStore(TileSpec(48), cut=True, folder=tmp_path / "none", gigabytes=0.0)
    np.testing.assert_array_equal(full.tiles(path), plain)
    assert not list((tmp_path / "none").rglob("*.npy"))


def test_colour_changes_of_tiles_cover_all_tiles_alike(data):
    settings = replace(data.settings, augmentation=AugmentationSettings(colour_probability=1.0))
    maker = replace_settings(data, settings)
    path = data._table.runs[0].rgb_path(5)
    changed = maker._tiles(path, np.random.default_rng(0))
    assert changed.shape == maker.store.tiles(path).shape
    assert (changed != maker.store.tiles(path)).mean() > 0.5


def test_strong_changes_cover_all_tiles_alike_and_are_off_unless_asked_for(data):
    plain, strong = (AugmentationSettings(colour_probability=0.0, strong_probability=p) for p in (0.0, 1.0))
    path = data._table.runs[0].rgb_path(5)
    unchanged = replace_settings(data, replace(data.settings, augmentation=plain))
    changed = replace_settings(data, replace(data.settings, augmentation=strong))
    tiles = unchanged.store.tiles(path)
    np.testing.assert_array_equal(unchanged._tiles(path, np.random.default_rng(0)), tiles)
    found = changed._tiles(path, np.random.default_rng(0))
    assert found.shape == tiles.shape
    assert (found != tiles).mean() > 0.3


def replace_settings(data, settings):
    from simlingo_training.data.dataset import SampleMaker

    return SampleMaker(data._table, settings, data.tiles, training=True)


def dream(**changes):
    values = {
        "mode": "crash", "dreamer_instruction": ["Hit it."], "waypoints": [[1.0, 0.0]] * 10, "route": "org",
        "dreamer_answer_safety": "Ignore instruction as it leads to a crash. Waypoints:", "safe_to_execute": False,
        "allowed": True,
    }  # fmt: skip
    return {**values, **changes}


def test_unsafe_instructions_are_refused_in_safety_mode_only(data):
    navigation = data.dataset(True).maker.navigation
    scene = Scene(5.0, np.array([[10.0, 0.0], [20.0, 0.0]]), 4, 4)
    seen = set()
    for seed in range(40):
        made = draw_instruction(scene, parse_dreams({"crash": [dream()]}), navigation, True, random.Random(seed))
        safety = made.conversation.prompt.startswith(prompts.SAFETY)
        assert made.follow != safety
        assert made.conversation.answer.startswith("Ignore") == safety
        seen.add(safety)
    assert seen == {True, False}


def test_a_dream_without_a_key_is_named():
    broken = dream()
    del broken["safe_to_execute"]
    with pytest.raises(ValueError, match="safe_to_execute"):
        parse_dreams({"crash": [broken]})
    assert parse_dreams({"slower_factor": [broken]}) == []


def test_an_instruction_given_as_one_string_is_one_sentence():
    assert parse_dreams({"route": [dream(dreamer_instruction="Drive on.")]})[0].instructions == ("Drive on.",)


def test_target_point_placeholders_come_in_pairs():
    with pytest.raises(ValueError, match="two adjacent"):
        tokenizer().row("Target waypoint: <TARGET_POINT>.", 8)


def test_commands_without_a_phrase_are_refused():
    with pytest.raises(ValueError, match="navigation command"):
        prompts.command_sentence(-1, 4, 10.0)


def test_instructions_are_reworded_with_the_same_values():
    from driving.paraphrases import Paraphrases
    from simlingo_training.data.tasks import reworded

    phrases = Paraphrases(instructions={"speed": ["Drive at <SPEED>.", "Go <SPEED> now."]})
    known = dream(
        dreamer_instruction=["Drive at 5 m/s."],
        instructions_templates=["Drive at <SPEED>."],
        templates_placeholders=[{"<SPEED>": "5 m/s"}],
    )
    parsed = parse_dreams({"target_speed": [known]})[0]
    found = {reworded(parsed, parsed.instructions[0], phrases, random.Random(seed)) for seed in range(20)}
    assert found == {"Drive at 5 m/s.", "Go 5 m/s now."}
    unknown = parse_dreams({"crash": [dream()]})[0]
    assert reworded(unknown, "Hit it.", phrases, random.Random(0)) == "Hit it."
