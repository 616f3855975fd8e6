"""Samples: a frame, a task and a label, as a function of the seed and the number of the draw alone."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from driving.camera import DRIVING_CAMERA, cut_bonnet
from driving.evaluation_sets import is_for_evaluation
from driving.files import atomic_writer, parse_json
from driving.label_records import CommentaryLabel, VqaLabel, commentary_label, vqa_label
from driving.records import COMMENTARY, DREAMER, VQA, RunFolder, boxes_from_json
from driving.route import resample_path, shift_view
from simlingo_training.config import NUM_PATH_POINTS, DataSettings
from simlingo_training.data.augment import STRONG_OPERATORS, augment, warm_up
from simlingo_training.data.chat import ChatRow, ChatTokenizer
from simlingo_training.data.images import ImageU8, TileSpec, prepare_image
from simlingo_training.data.objects import ObjectMaps, draw_objects
from simlingo_training.data.prompts import TARGET_POINT, Draws
from simlingo_training.data.shards import Files, PlainFiles, open_files
from simlingo_training.data.table import REMAKE, FrameTable
from simlingo_training.data.tasks import (
    Conversation,
    Navigation,
    Scene,
    draw_driving_conversation,
    draw_instruction,
    load_paraphrases,
    parse_dreams,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

DRIVING = "driving"
DREAMING = "dreamer"

KEPT_LABELS = 4096


@dataclass(frozen=True)
class Draw:
    """Which sample to make.

    Attributes:
        kind: ``driving`` or ``dreamer``.
        row: Row of the frame table.
        number: Number of the draw since the start of training; seeds its random choices.
        bucket: Bucket it was drawn from.
    """

    kind: str
    row: int
    number: int
    bucket: str


@dataclass(frozen=True)
class Sample:
    """One training sample before tokenisation.

    Attributes:
        conversation: Prompt, answer, task.
        tiles: (T, S, S, 3) uint8.
        target_points: (2, 2) ego frame of the (possibly shifted) camera, metres.
        waypoints: (10, 2) in time, metres.
        path: (20, 2) by distance, metres.
        speed: m/s.
        key: Run and frame.
        objects: What is to be seen where, when training asks for it.
    """

    conversation: Conversation
    tiles: ImageU8
    target_points: NDArray[np.float64]
    waypoints: NDArray[np.float64]
    path: NDArray[np.float64]
    speed: float
    key: str
    objects: ObjectMaps | None = None


@dataclass(frozen=True)
class EncodedSample:
    """A sample with its token ids and the draw it came from."""

    sample: Sample
    row: ChatRow
    draw: Draw


@dataclass(frozen=True)
class View:
    """Numbers of a frame as seen from the recorded or the shifted camera: metres in that camera's ego frame."""

    waypoints: NDArray[np.float64]
    path: NDArray[np.float64]
    target_points: NDArray[np.float64]

    def mirrored(self) -> View:
        """The same with left and right exchanged."""
        sides = np.array([1.0, -1.0])
        return View(self.waypoints * sides, self.path * sides, self.target_points * sides)


def tile_strip(tiles: ImageU8) -> ImageU8:
    """Tiles (T, S, S, 3) side by side (S, T * S, 3), so that one change covers all alike."""
    return np.ascontiguousarray(tiles.swapaxes(0, 1).reshape(tiles.shape[1], -1, 3))


def strip_tiles(strip: ImageU8, count: int) -> ImageU8:
    """Undo `tile_strip` of ``count`` tiles."""
    return np.ascontiguousarray(strip.reshape(len(strip), count, -1, 3).swapaxes(0, 1))


def mirror_tiles(tiles: ImageU8, columns: int) -> ImageU8:
    """Tiles (T, S, S, 3) of a picture with left and right exchanged; ``columns`` lie side by side, a thumbnail behind them."""
    whole = len(tiles) // columns * columns
    order = np.arange(len(tiles))
    order[:whole] = order[:whole].reshape(-1, columns)[:, ::-1].ravel()
    return np.ascontiguousarray(tiles[order, :, ::-1])


def view_of(row: NDArray[np.void], shifted: bool) -> View:
    """Labels of a table row, seen from the recorded camera or the shifted one."""
    route = row["route"][: row["route_length"]].astype(np.float64)
    waypoints, points = row["waypoints"].astype(np.float64), row["target_points"].astype(np.float64)
    if shifted:
        lateral, yaw = float(row["shift_m"]), float(row["shift_deg"])
        route, waypoints, points = (shift_view(item, lateral, yaw) for item in (route, waypoints, points))
    return View(waypoints, resample_path(route, NUM_PATH_POINTS), points)


def read_image(path: Path, files: Files | None = None) -> ImageU8:
    """Read a recorded image as (H, W, 3) uint8 RGB, from ``files`` or from where it was recorded.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged.
    """
    try:
        content = (files or PlainFiles()).read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: image is missing although the data set lists it; {REMAKE}, or delete the table folder"
        ) from error
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    if image is None:
        raise ValueError(f"{path}: not a readable image; check the run with python -m dataset_generation.verify")
    return image  # type: ignore[return-value]


class TileStore:
    """Reads images as tiles and optionally keeps them, in memory or on a node-local disk."""

    def __init__(
        self,
        spec: TileSpec,
        cut: bool,
        in_memory: bool = False,
        folder: Path | None = None,
        gigabytes: float = 0.0,
        files: Files | None = None,
    ) -> None:
        """``folder`` and ``gigabytes`` switch the disk cache on and limit it; ``cut`` drops the bonnet rows; ``files`` is
        where pictures are read from."""
        self.files = files or PlainFiles()
        self.spec = spec
        self.cut = cut
        self._memory: dict[Path, ImageU8] | None = {} if in_memory else None
        self._folder = folder
        kept = 0 if folder is None else sum(file.stat().st_size for file in folder.glob("*/*.npy"))
        self._room = gigabytes * 1e9 - kept

    def divide(self, count: float) -> None:
        """Leave this process its part of the disk cache's room, one of ``count``: several processes fill it."""
        self._room /= count

    def image(self, path: Path) -> ImageU8:
        """The (prepared and cropped) camera image."""
        return prepare_image(read_image(path, self.files), self.spec, self.cut)

    def tiles(self, path: Path) -> ImageU8:
        """The tiles (T, S, S, 3) of an image."""
        if self._memory is not None and path in self._memory:
            return self._memory[path]
        stored = self._stored_at(path)
        if stored is not None and stored.is_file():
            return np.load(stored, allow_pickle=False)
        tiles = self.spec.cut(self.image(path))
        if stored is not None and self._room >= tiles.nbytes:
            self._room -= tiles.nbytes
            self._store(stored, tiles)
        if self._memory is not None:
            self._memory[path] = tiles
        return tiles

    def _store(self, place: Path, tiles: ImageU8) -> None:
        """Keep tiles on the disk; when it is full, training goes on without keeping more."""
        try:
            with atomic_writer(place) as stream:
                np.save(stream, tiles, allow_pickle=False)
        except OSError as error:
            log.warning("%s: no more pictures are kept: %s", self._folder, error)
            self._room = 0.0

    def _stored_at(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        text = f"{self.files.stamp(path)}|{self.spec}|{self.cut}"
        name = sha256(text.encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.npy"


def _picture_shape(cut: bool) -> tuple[int, int]:
    """Height and width of the camera's picture as it is tiled, pixels; ``cut`` drops the bonnet rows."""
    whole = np.empty((DRIVING_CAMERA.height, DRIVING_CAMERA.width), np.uint8)
    height, width = (cut_bonnet(whole) if cut else whole).shape
    return height, width


class LabelFiles:
    """Reads label files and keeps the last few thousand of a small data set; in a large one none comes again soon."""

    def __init__(self, limit: int, files: Files) -> None:
        self._limit = limit
        self._files = files
        self._kept: OrderedDict[Path, object] = OrderedDict()

    def read(self, path: Path, parse: Callable[[Any, Path], T]) -> T:
        """Content of a JSON file, parsed with its name for messages."""
        if not self._limit:
            return parse(parse_json(self._files.read(path), path), path)
        if path not in self._kept:
            self._kept[path] = parse(parse_json(self._files.read(path), path), path)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return self._kept[path]  # type: ignore[return-value]


class SampleMaker:
    """Turns a table row and a source of random choices into a sample."""

    def __init__(
        self, table: FrameTable, settings: DataSettings, tiles: TileSpec, training: bool, object_side: int = 0
    ) -> None:
        """``training`` switches camera shift and picture changes on; ``object_side`` is how many cells per side of a tile the
        maps of what is to be seen have, 0 for none."""
        self.table = table
        self.object_side = object_side
        self._height, width = _picture_shape(settings.cut_bonnet)
        self._grid = tiles.grid(self._height, width)
        self.settings = settings
        self.training = training
        cache = settings.cache
        folder = cache.folder / "tiles" if cache.use_disk_cache else None
        files = open_files(table.root)
        limit = cache.dataset_cache_size_gb
        self.store = TileStore(tiles, settings.cut_bonnet, cache.in_memory, folder, limit, files)
        self.labels = LabelFiles(KEPT_LABELS if cache.in_memory else 0, files)
        self.phrases = load_paraphrases(settings.templates)
        sentences = self.phrases.navigation if settings.use_free_sentences else {}
        self.navigation = Navigation(settings.route_as, sentences)
        if training and settings.augmentation.colour:
            warm_up()

    def driving(self, row: int, draws: Draws, colours: np.random.Generator | None = None) -> Sample:
        """An expert frame: driving, commentary or question, maybe from the shifted camera."""
        record = self.table.rows[row]
        augmentation = self.settings.augmentation
        wanted = draws.random() < augmentation.shift_probability
        shifted = wanted and self.training and augmentation.shift and bool(record["has_shifted_view"])
        view = view_of(record, shifted)
        run, frame = self._place(record)
        conversation = draw_driving_conversation(
            self._scene(record, view),
            self._commentary(record, run, frame),
            self._vqa(record, run, frame),
            self.navigation,
            self.phrases,
            self.settings.tasks,
            self.settings.paraphrase_probability if self.training else 0.0,
            draws,
        )
        image = run.rgb_augmented_path(frame) if shifted else run.rgb_path(frame)
        return self._sample(row, conversation, view, image, colours, shifted)

    def dreaming(self, row: int, draws: Draws, colours: np.random.Generator | None = None) -> Sample:
        """An instructed alternative of a frame; the expert's drive where there is none that training uses."""
        record = self.table.rows[row]
        view = view_of(record, shifted=False)
        run, frame = self._place(record)
        dreams = self.labels.read(run.label_path(DREAMER, frame), lambda content, _: parse_dreams(content))
        if not dreams:  # some frames have only kinds of dreams that training leaves out
            return self.driving(row, draws, colours)
        instructed = draw_instruction(
            self._scene(record, view),
            dreams,
            self.navigation,
            self.settings.use_safety_flag,
            draws,
            self.phrases,
            self.settings.paraphrase_probability if self.training else 0.0,
        )
        if instructed.follow:
            dream = instructed.dream
            waypoints = view.waypoints if dream.waypoints is None else dream.waypoints
            path = view.path if dream.path is None else dream.path
            view = View(waypoints, path, view.target_points)
        return self._sample(row, instructed.conversation, view, run.rgb_path(frame), colours)

    def _sample(
        self,
        row: int,
        conversation: Conversation,
        view: View,
        image: Path,
        colours: np.random.Generator | None,
        shifted: bool = False,
    ) -> Sample:
        objects = self._objects(self.table.rows[row], shifted) if self.object_side else None
        tiles = self._tiles(image, colours if self.training and self.settings.augmentation.colour else None)
        if colours is not None and self._is_mirrored(conversation, colours):
            tiles, view = mirror_tiles(tiles, self._grid[0]), view.mirrored()
            objects = objects and objects.mirrored(self._grid[0])
        speed = float(self.table.rows["speed"][row])
        key = self.table.key(row)
        return Sample(conversation, tiles, view.target_points, view.waypoints, view.path, speed, key, objects)

    def _tiles(self, path: Path, colours: np.random.Generator | None) -> ImageU8:
        augmentation = self.settings.augmentation
        if colours is None:
            return self.store.tiles(path)
        if augmentation.before_tiling:
            return self.store.spec.cut(augment(self.store.image(path), augmentation.colour_probability, colours))
        tiles = self.store.tiles(path)
        strip = augment(tile_strip(tiles), augmentation.colour_probability, colours)
        if augmentation.strong_probability:
            strip = augment(strip, augmentation.strong_probability, colours, STRONG_OPERATORS)
        return strip_tiles(strip, len(tiles))

    def _is_mirrored(self, conversation: Conversation, colours: np.random.Generator) -> bool:
        """Draw whether a sample is mirrored; words and commands that name a side keep it as it is."""
        probability = self.settings.augmentation.mirror_probability
        if not self.training or not probability or conversation.task != DRIVING:
            return False
        return TARGET_POINT in conversation.prompt and colours.random() < probability

    def _objects(self, record: NDArray[np.void], shifted: bool) -> ObjectMaps:
        run, frame = self._place(record)
        boxes = self.labels.read(run.boxes_path(frame), boxes_from_json)
        shift = (float(record["shift_m"]), float(record["shift_deg"])) if shifted else (0.0, 0.0)
        return draw_objects(boxes, DRIVING_CAMERA.shifted(*shift), self._grid, self.object_side, self._height)

    def _place(self, record: NDArray[np.void]) -> tuple[RunFolder, int]:
        return self.table.runs[record["run"]], int(record["frame"])

    def _scene(self, record: NDArray[np.void], view: View) -> Scene:
        command, following = int(record["command"]), int(record["next_command"])
        return Scene(float(record["speed"]), view.target_points, command, following)

    def _commentary(self, record: NDArray[np.void], run: RunFolder, frame: int) -> CommentaryLabel | None:
        if not record["has_commentary"] or not self.settings.tasks.commentary or self._is_kept_back(run):
            return None
        return self.labels.read(run.label_path(COMMENTARY, frame), commentary_label)

    def _is_kept_back(self, run: RunFolder) -> bool:
        return self.training and is_for_evaluation(run)

    def _vqa(self, record: NDArray[np.void], run: RunFolder, frame: int) -> VqaLabel | None:
        if not record["has_vqa"] or not self.settings.tasks.vqa or self._is_kept_back(run):
            return None
        return self.labels.read(run.label_path(VQA, frame), vqa_label)


def choices_for(seed: int, number: int) -> tuple[random.Random, np.random.Generator]:
    """Generators of text and picture choices of a draw; they depend on nothing else."""
    state = np.random.SeedSequence([seed, number]).generate_state(4, dtype=np.uint32)
    return random.Random(int(state[0]) << 32 | int(state[1])), np.random.default_rng(state[2:].tolist())


class SimLingoDataset(Dataset[EncodedSample]):
    """Makes the sample of a `Draw`. The number of loader processes changes nothing."""

    def __init__(self, maker: SampleMaker, tokenizer: ChatTokenizer, tokens_per_tile: int, seed: int) -> None:
        self.maker = maker
        self.tokenizer = tokenizer
        self.tokens_per_tile = tokens_per_tile
        self.seed = seed

    def __len__(self) -> int:
        return len(self.maker.table)

    def __getitem__(self, draw: Draw) -> EncodedSample:
        draws, colours = choices_for(self.seed, draw.number)
        make = self.maker.dreaming if draw.kind == DREAMING else self.maker.driving
        sample = make(draw.row, draws, colours)
        conversation = sample.conversation
        tokens = len(sample.tiles) * self.tokens_per_tile
        return EncodedSample(sample, self.tokenizer.row(conversation.prompt, tokens, conversation.answer), draw)
