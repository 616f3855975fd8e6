"""What all question families share about one frame: geometry, key objects, and how a pair is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from dataset_generation.language_labels.naming import describe
from dataset_generation.language_labels.profiles import Correction, Profile
from dataset_generation.language_labels.projection import (
    ImageRegion,
    clipped_bounds,
    corners,
    is_considered,
    pixel_bounds,
    round1,
)
from dataset_generation.language_labels.route_data import Frame
from dataset_generation.language_labels.scenarios import HIGHWAY_SCENARIOS
from dataset_generation.language_labels.vqa.nodes import NODES
from driving.geometry import Corner
from driving.label_records import KeyObject, QaPair, fill
from driving.records import CarBox, PlacedBox, StopSignBox, TrafficLightBox, TrafficLightVqaBox

FAR_JUNCTION = 1000.0
"""Stands for the distance to the junction when there is none, metres."""

HIGHWAY_LIMIT_KMH = 50
"""Above this speed limit the entering and yielding scenarios take place on a highway."""

Tags = Sequence[str]


class VqaScene:
    """One frame while its questions are asked.

    Attributes:
        frame: The recorded frame.
        scenario: Scenario it belongs to.
        profile: Which corrections apply.
        region: Part of the image in which vehicles count as visible.
        important: Names of the important objects, in order of appearance.
        key_objects: Key to object, in order of appearance.
        stop_sign, light: What the families of stop signs and traffic lights found; None before and without one.
    """

    def __init__(self, frame: Frame, scenario: str, profile: Profile, region: ImageRegion) -> None:
        self.frame = frame
        self.measurement = frame.measurement
        self.ego = frame.ego
        self.scenario = scenario
        self.profile = profile
        self.region = region
        self.important: list[str] = []
        self.key_objects: dict[str, KeyObject] = {}
        self.stop_sign: StopSignBox | None = None
        self.light: TrafficLightVqaBox | TrafficLightBox | None = None
        self._keyed: list[tuple[str, PlacedBox | None]] = []
        self._bounds: dict[int, list[list[float]] | None] = {}

    def corrects(self, correction: Correction) -> bool:
        """Whether a correction applies."""
        return correction in self.profile

    # Geometry ---------------------------------------------------------------------------------------------------------

    @cached_property
    def considered(self) -> list[CarBox]:
        """Vehicles questions are asked about, in file order."""
        return [car for car in self.frame.cars if is_considered(car, self.region)]

    @cached_property
    def considered_ids(self) -> frozenset[int]:
        """Actor ids of the considered vehicles."""
        return frozenset(car.id for car in self.considered)

    def scenario_cars(self) -> list[CarBox]:
        """Vehicles the scenario placed, in file order."""
        return [car for car in self.frame.cars if "scenario" in car.role_name]

    @cached_property
    def junction_distance(self) -> float:
        """Distance to the next junction, metres; `FAR_JUNCTION` without one."""
        distance = self.ego.distance_to_junction
        return FAR_JUNCTION if distance is None else distance

    @property
    def in_junction(self) -> bool:
        """Whether the ego vehicle is in a junction."""
        return self.ego.is_in_junction

    def is_at_junction(self, within: float) -> bool:
        """Whether the ego vehicle is in a junction or nearer to one than ``within`` metres."""
        return self.in_junction or self.junction_distance < within

    @property
    def is_rightmost(self) -> bool:
        """Whether the ego vehicle is on the rightmost lane of its direction."""
        return self.ego.num_lanes_same_direction - self.ego.ego_lane_number - 1 == 0

    @cached_property
    def speed_limit_kmh(self) -> int:
        """Speed limit, whole km/h."""
        return int(self.measurement.speed_limit * 3.6)

    @property
    def is_parking(self) -> bool:
        """Whether the ego vehicle is on a parking lane."""
        return self.ego.lane_type_str == "Parking"

    @cached_property
    def is_overtaking(self) -> bool:
        """Whether the ego vehicle has left its lane for the opposite one to pass an obstruction."""
        return self.measurement.changed_route and "TwoWays" in self.scenario

    @cached_property
    def is_fast_highway(self) -> bool:
        """Whether a highway scenario takes place on a road with a highway's speed limit."""
        return self.scenario in HIGHWAY_SCENARIOS and self.speed_limit_kmh > HIGHWAY_LIMIT_KMH

    def describe(self, vehicle: CarBox) -> str:
        """Colour and kind of a vehicle."""
        return describe(vehicle, self.profile)

    # Key objects ------------------------------------------------------------------------------------------------------

    def bounds(self, box: PlacedBox) -> list[list[float]] | None:
        """[[min u, min v], [max u, max v]] of a box in the image, pixels; computed once per box."""
        if id(box) not in self._bounds:
            project = clipped_bounds if self.corrects(Correction.UNSEEN_OBJECTS) else pixel_bounds
            self._bounds[id(box)] = project(self._corners(box))
        return self._bounds[id(box)]

    def _corners(self, box: PlacedBox) -> list[Corner]:
        return corners(box, walkers_float=not self.corrects(Correction.WALKER_BOX))

    def add_key_object(self, category: str, description: str, box: PlacedBox | None) -> str:
        """Register an object questions speak of; returns its key."""
        number = len(self.key_objects) + 1
        bounds = None if box is None else self.bounds(box)
        if box is None or bounds is None:
            key = f"<c{number},CAM_FRONT>"
            self.key_objects[key] = KeyObject(category, description)
        else:
            (left, top), (right, bottom) = bounds
            key = f"<c{number},CAM_FRONT,{round1((left + right) / 2)},{round1((top + bottom) / 2)}>"
            ground = box.position[2] if isinstance(box, CarBox) else 0.0
            cube = [[round1(x), round1(y), round1(z - ground)] for x, y, z in self._corners(box)]
            self.key_objects[key] = KeyObject(category, description, bounds, cube)
        self._keyed.append((key, box))
        return key

    def tags_of(self, box: PlacedBox | None) -> list[str]:
        """Keys of the objects that look the same as ``box`` in the image; empty without a box or a key."""
        if box is None:
            return []
        bounds = self.bounds(box)
        if bounds is None:
            return [key for key, other in self._keyed if other is box]
        return [key for key, other in self._keyed if other is not None and self.bounds(other) == bounds]

    def tags_described(self, word: str) -> list[str]:
        """Keys of the objects whose description contains ``word``."""
        return [key for key, value in self.key_objects.items() if word in value.description]

    # Pairs ------------------------------------------------------------------------------------------------------------

    def ask(
        self,
        node: tuple[int, int],
        question: str,
        answer: str,
        tags: Tags = (),
        slots: Mapping[str, str] | None = None,
    ) -> QaPair:
        """Write down one pair.

        Args:
            node: Graph node (chain, layer).
            question, answer: Sentences, possibly with placeholders.
            tags: Keys of the objects they speak of.
            slots: Placeholder to text.
        """
        slots = slots or {}
        links = NODES[node]
        pair_slots: Mapping[str, str] = {}
        templates: tuple[str | None, str | None] = (None, None)
        if self.corrects(Correction.SLOTS):
            templates = (question, answer)
            pair_slots = {name: text for name, text in slots.items() if name in question or name in answer}
        return QaPair(
            fill(question, slots), fill(answer, slots), links.up, links.down, *node, list(tags), *templates, pair_slots
        )
