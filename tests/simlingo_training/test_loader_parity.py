"""Samples against those of the published dataset classes on the reference frames."""

import gzip
import hashlib
import json
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from simlingo_training.config import AugmentationSettings, DataSettings, TaskShares
from simlingo_training.data import dataset as datasets
from simlingo_training.data.dataset import SampleMaker
from simlingo_training.data.images import TileSpec
from simlingo_training.data.module import BUCKET_KEYS, split_runs
from simlingo_training.data.table import TableOptions, buckets_to_rows, load_table
from simlingo_training.data.tasks import draw_driving_conversation, load_paraphrases
from tests.simlingo_training.conftest import shared


@pytest.fixture(scope="module")
def expected():
    return shared("parity", "labels", "expected")


@pytest.fixture(scope="module")
def table(label_root, tmp_path_factory):
    return load_table(label_root, TableOptions(), tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def places(table):
    """``<set>/<split>/<weather>/<run>/<frame>`` to row."""
    return {table.key(row).removeprefix("simlingo/"): row for row in range(len(table))}


def read(path):
    return json.loads(gzip.open(path).read())


def generator(key, salt):
    """The reference's generator for one sample."""
    name = "/".join(key.split("/")[-2:])
    return random.Random(int.from_bytes(hashlib.sha256(f"{name}:{salt}".encode()).digest()[:4], "big"))


def settings(**changes):
    templates = str(shared("parity", "labels", "root", "data", "augmented_templates"))
    base = DataSettings(templates=templates, paraphrase_probability=0.0)
    return replace(base, **{"augmentation": AugmentationSettings(shift=False, colour=False), **changes})


def maker(table, **changes):
    return SampleMaker(table, settings(**changes), TileSpec(), training=True)


@pytest.fixture
def no_pictures(monkeypatch):
    """Text and numbers only; reading the pictures would take most of the time."""
    monkeypatch.setattr(datasets.TileStore, "tiles", lambda self, path: np.zeros((1, 1, 1, 3), np.uint8))


def check_numbers(arrays, number, sample):
    for name, value in (
        ("waypoints", sample.waypoints),
        ("path", sample.path),
        ("target_points", sample.target_points),
        ("speed", sample.speed),
    ):
        if name in arrays.files:
            # The table holds single precision.
            np.testing.assert_allclose(arrays[name][number], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("file", "salt", "changes"),
    [
        ("driving_plain", "plain", {}),
        ("driving_shift", "shift", {"augmentation": AugmentationSettings(True, 1.0, False)}),
        (
            "driving_cut",
            "cut",
            {"tasks": TaskShares(0.5, 0.5, 0.0), "route_as": "command", "use_free_sentences": False},
        ),
    ],
)
def test_driving_samples(expected, table, places, no_pictures, file, salt, changes):
    made = maker(table, **changes)
    arrays = np.load(expected / "loader" / f"{file}.npz")
    texts = read(expected / "loader" / f"{file}_text.json.gz")
    for number, (key, prompt, answer, _) in enumerate(texts):
        sample = made.driving(places[key], generator(key, salt))
        assert (sample.conversation.prompt, sample.conversation.answer) == (prompt, answer), key
        check_numbers(arrays, number, sample)


def test_pictures_of_the_shifted_camera(expected, table, places):
    arrays = np.load(expected / "loader" / "driving_shift.npz")
    store = maker(table).store
    for number in range(0, len(arrays["keys"]), 25):
        row = places[str(arrays["keys"][number])]
        run = table.runs[table.rows["run"][row]]
        image = store.image(run.rgb_augmented_path(int(table.rows["frame"][row])))
        assert image.shape == (359, 1024, 3)
        grid = image[16::32, 32::64][:11].astype(int)
        reference = np.asarray(arrays["image_grid"][number]).astype(int).reshape(-1)[: grid.size]
        assert np.abs(grid.reshape(-1) - reference).max() <= 3


def test_paraphrased_samples(expected, table, places, no_pictures):
    """Four draws per frame; the published loader loses the unit of distances, so the text functions are called with it."""
    made = maker(table)
    phrases = load_paraphrases(made.settings.templates)
    for key, number, prompt, answer in read(expected / "loader" / "driving_text_augmentation.json.gz"):
        draws = generator(key, f"text{number}")
        draws.random()
        record = table.rows[places[key]]
        run, frame = made._place(record)
        found = draw_driving_conversation(
            made._scene(record, datasets.view_of(record, False)),
            made._commentary(record, run, frame),
            made._vqa(record, run, frame),
            made.navigation,
            phrases,
            TaskShares(),
            0.6,
            draws,
            unit="",
        )
        assert (found.prompt, found.answer) == (prompt, answer), key


def test_share_of_tasks(expected, table, places, no_pictures):
    reference = read(expected / "loader" / "task_counts.json.gz")
    made = maker(table)
    keys = [key for key in sorted(places) if "validation_" not in key][::4][: reference["frames"]]
    counts = Counter(
        made.driving(places[key], generator(key, str(seed))).conversation.task for key in keys for seed in range(40)
    )
    total = sum(counts.values())
    assert counts["vqa"] / total == pytest.approx(633 / 1920, abs=0.04)
    assert counts["commentary"] / total == pytest.approx(508 / 1920, abs=0.04)
    assert counts["driving"] / total == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize(("file", "flag"), [("dreamer_safety", True), ("dreamer_noflag", False)])
def test_dreamer_samples(expected, table, places, no_pictures, monkeypatch, file, flag):
    """The published loader draws one character of the instruction of mode ``route``; that is imitated here only."""
    parse = datasets.parse_dreams
    monkeypatch.setattr(
        datasets,
        "parse_dreams",
        lambda content: [
            replace(dream, instructions=tuple(dream.instructions[0])) if dream.mode == "route" else dream
            for dream in parse(content)
        ],
    )
    made = maker(table, use_safety_flag=flag)
    arrays = np.load(expected / "loader" / f"{file}.npz")
    for number, (key, prompt, answer, _) in enumerate(read(expected / "loader" / f"{file}_text.json.gz")):
        sample = made.dreaming(places[key], generator(key, file.split("_")[1]))
        assert (sample.conversation.prompt, sample.conversation.answer) == (prompt, answer), key
        check_numbers(arrays, number, sample)


def test_navigation_options(expected, table, places):
    made = maker(table)
    for key, options in read(expected / "loader" / "navigation_options.json.gz").items():
        record = table.rows[places[key]]
        scene = made._scene(record, datasets.view_of(record, False))
        found = {text for seed in range(300) for text in made.navigation.options(scene, random.Random(seed))}
        assert found == set(options)


def rows_to_keys(table, rows):
    return {table.key(int(row)).removeprefix("simlingo/") for row in rows}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("driving train", {"split_by_town": True}),
        ("driving train no old towns", {"split_by_town": True, "use_old_towns": False}),
    ],
)
def test_frames_of_a_split(expected, table, name, changes):
    training, _ = split_runs(table, settings(**changes))
    assert rows_to_keys(table, np.flatnonzero(training)) == set(read(expected / "loader" / "frame_lists.json.gz")[name])


def test_frames_of_every_bucket(expected, table):
    lists = read(expected / "loader" / "frame_lists.json.gz")
    rows = buckets_to_rows(table, read(expected / "buckets_paths.json.gz"))
    training, _ = split_runs(table, settings(split_by_town=True))
    checked = 0
    for title, keys in lists.items():
        bucket = title.removeprefix("driving train bucket ")
        if bucket == title or not isinstance(keys, list) or "," in bucket:
            continue
        found = np.unique(np.concatenate([rows[key] for key in BUCKET_KEYS.get(bucket, (bucket,))]))
        assert rows_to_keys(table, found[training[found]]) == set(keys), bucket
        checked += 1
    assert checked >= 15
