"""One recorded route in memory: each file is read once, and all labels of the route come from here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.scenarios import RouteScenarios, read_scenarios
from driving.records import (
    Box,
    CarBox,
    EgoCarBox,
    EgoInfoBox,
    Measurement,
    RecordError,
    RunFolder,
    StaticBox,
    StopSignBox,
    TrafficLightBox,
    TrafficLightVqaBox,
    TrafficWarningBox,
    WalkerBox,
    label_rejection,
    read_boxes,
    read_measurement,
    read_result,
)


class Skipped(Exception):
    """A rule says that this frame or route gets no label. The message is the reason frames are counted under."""


class LabelFailure(Exception):
    """A label could not be made although the rules ask for one. The message is the reason frames are counted under."""


@dataclass(frozen=True)
class Frame:
    """One recorded moment with its boxes sorted by class, each list in file order.

    Attributes:
        number: Frame number.
        measurement: What the expert knew.
        boxes: All boxes.
    """

    number: int
    measurement: Measurement
    boxes: list[Box]

    @cached_property
    def _by_type(self) -> dict[type[Box], list]:
        sorted_boxes: dict[type[Box], list] = {}
        for box in self.boxes:
            sorted_boxes.setdefault(type(box), []).append(box)
        return sorted_boxes

    def _only(self, kind: type[Box]):
        boxes = self._by_type.get(kind)
        if not boxes:
            raise LabelFailure(f"boxes without {kind.box_class}")
        return boxes[0]

    @cached_property
    def ego_car(self) -> EgoCarBox:
        """The ego vehicle."""
        return self._only(EgoCarBox)

    @cached_property
    def ego(self) -> EgoInfoBox:
        """The road around the ego vehicle."""
        return self._only(EgoInfoBox)

    @property
    def cars(self) -> list[CarBox]:
        """Other vehicles."""
        return self._by_type.get(CarBox, [])

    @property
    def walkers(self) -> list[WalkerBox]:
        """Pedestrians."""
        return self._by_type.get(WalkerBox, [])

    @property
    def stop_signs(self) -> list[StopSignBox]:
        """Stop lines of stop signs."""
        return self._by_type.get(StopSignBox, [])

    @property
    def light_heads(self) -> list[TrafficLightVqaBox]:
        """Traffic light heads in front of the ego vehicle."""
        return self._by_type.get(TrafficLightVqaBox, [])

    @property
    def light_lines(self) -> list[TrafficLightBox]:
        """Stop lines of traffic lights."""
        return self._by_type.get(TrafficLightBox, [])

    @cached_property
    def props(self) -> list[StaticBox | TrafficWarningBox]:
        """Props, warning signs included."""
        return [box for box in self.boxes if isinstance(box, (StaticBox, TrafficWarningBox))]

    @cached_property
    def cars_by_id(self) -> dict[int, CarBox]:
        """Other vehicles by actor id."""
        return {car.id: car for car in self.cars}


class RouteData:
    """The files of one run, read on first use and kept until the run is labelled.

    Attributes:
        run: The run folder.
        profile: How errors in the route file are treated.
        frames: Frame numbers that have boxes, sorted.
    """

    def __init__(self, run: RunFolder, routes_root: Path, profile: Profile) -> None:
        self.run = run
        self.profile = profile
        self._routes_root = routes_root
        self.frames = run.frames("boxes")
        self._measured = set(run.frames("measurements"))
        self._boxed = set(self.frames)
        self._images = _stems(run.path / "rgb")
        self._measurements: dict[int, Measurement | ValueError] = {}
        self._loaded: dict[int, Frame] = {}

    @cached_property
    def scenarios(self) -> RouteScenarios:
        """Scenarios of the route. Raises LabelFailure when the route file cannot be read."""
        try:
            return read_scenarios(self.run, self._routes_root, self.profile)
        except RecordError as error:
            raise LabelFailure(f"scenario unknown: {error}") from error

    @cached_property
    def rejection(self) -> str | None:
        """Why the whole run gets no labels, or None."""
        try:
            return label_rejection(read_result(self.run.results_path))
        except FileNotFoundError:
            return "run without results.json.gz"
        except ValueError:
            return "run with an unreadable results.json.gz"

    def has_frame(self, number: int) -> bool:
        """Whether boxes and measurement of a frame exist."""
        return number in self._boxed and number in self._measured

    def has_measurement(self, number: int) -> bool:
        """Whether the measurement of a frame exists."""
        return number in self._measured

    def has_image(self, number: int) -> bool:
        """Whether the front image of a frame exists."""
        return number in self._images

    def measurement(self, number: int) -> Measurement:
        """Measurement of a frame.

        Raises:
            LabelFailure: If the file is missing or malformed.
        """
        found = self._measurements.get(number)
        if found is None:
            try:
                found = read_measurement(self.run.measurement_path(number))
            except (ValueError, FileNotFoundError) as error:
                found = ValueError(str(error))
            self._measurements[number] = found
        if isinstance(found, ValueError):
            raise LabelFailure(f"measurement unreadable: {found}") from found
        return found

    def frame(self, number: int) -> Frame:
        """Measurement and boxes of a frame.

        Raises:
            LabelFailure: If a file is missing or malformed.
        """
        if number not in self._loaded:
            measurement = self.measurement(number)
            try:
                boxes = read_boxes(self.run.boxes_path(number))
            except (ValueError, FileNotFoundError) as error:
                raise LabelFailure(f"boxes unreadable: {error}") from error
            self._loaded[number] = Frame(number, measurement, boxes)
        return self._loaded[number]

    def forget_before(self, number: int) -> None:
        """Drop the boxes of earlier frames, which no later label needs; measurements stay."""
        for old in [key for key in self._loaded if key < number]:
            del self._loaded[old]


def _stems(folder: Path) -> set[int]:
    """Frame numbers of the images in a folder; empty without the folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    return {int(name[:-4]) for name in names if name.endswith(".jpg") and name[:-4].isdigit()}
