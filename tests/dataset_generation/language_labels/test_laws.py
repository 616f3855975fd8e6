"""What holds for every label of every frame, on frames drawn at random over all scenarios."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from dataset_generation.language_labels import profiles
from dataset_generation.language_labels.commentary.generator import label_frame as comment
from dataset_generation.language_labels.commentary.window import Window
from dataset_generation.language_labels.naming import front_location
from dataset_generation.language_labels.profiles import CORRECTED, PARITY, Correction
from dataset_generation.language_labels.projection import PUBLISHED_REGION, is_considered, is_in_image
from dataset_generation.language_labels.route_data import Frame, LabelFailure
from dataset_generation.language_labels.scenarios import NO_SCENARIO
from dataset_generation.language_labels.synthetic import SCENARIOS, FrameMaker
from dataset_generation.language_labels.vqa.generator import FAMILIES, label_frame
from dataset_generation.language_labels.vqa.nodes import NODES
from driving.label_records import fill

FRAMES = 400


@pytest.fixture(scope="module")
def frames():
    maker = FrameMaker(5)
    drawn = []
    for number in range(FRAMES):
        boxes = maker.boxes(num_cars=number % 9)
        scenario = (*SCENARIOS, NO_SCENARIO)[number % (len(SCENARIOS) + 1)]
        drawn.append((scenario, Frame(number, maker.measurement(number, boxes), boxes)))
    return drawn


@pytest.fixture(scope="module")
def labels(frames):
    return [(frame, label_frame(frame, scenario, "x.jpg", CORRECTED)) for scenario, frame in frames]


def comment_on(scenario, frame, profile=CORRECTED):
    name = None if scenario == NO_SCENARIO else scenario
    m = frame.measurement
    window = Window(frame, name, profile, past=[m] * 4, future=[m] * 11)
    return comment(window, "x.jpg", random.Random(frame.number))


def test_graph_links_point_to_known_nodes():
    for node in NODES.values():
        for links in (node.up, node.down):
            assert links == -1 or set(links) <= NODES.keys()


def test_every_correction_is_used_by_the_code():
    package = Path(profiles.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "profiles.py")
    assert [row.name for row in Correction if f"Correction.{row.name}" not in code] == []
    assert len({row.value for row in Correction}) == len(Correction)


def test_families_cover_every_node_once_and_have_one_place_each():
    covered = Counter(node for family in FAMILIES for node in family.nodes)
    assert covered == dict.fromkeys(NODES, 1)
    assert sorted(family.place_in_file for family in FAMILIES) == list(range(len(FAMILIES)))


def test_every_frame_has_twenty_questions_and_four_per_vehicle(labels):
    for frame, label in labels:
        seen = [car for car in frame.cars if is_considered(car, PUBLISHED_REGION)]
        assert len(label.pairs) == 20 + 4 * len(seen)
        assert {(pair.cluster, pair.layer) for pair in label.pairs} <= NODES.keys()


def test_every_family_and_every_kind_of_question_occurs(labels):
    nodes = {(pair.cluster, pair.layer) for _, label in labels for pair in label.pairs}
    assert nodes == NODES.keys()


def test_sentences_are_whole(labels):
    for _, label in labels:
        for pair in label.pairs:
            assert "<" not in pair.question + pair.answer
            assert pair.question.endswith("?")
            assert pair.answer.endswith(".")
            assert "  " not in pair.answer
            assert "to to" not in pair.answer
            assert not re.search(r"\ba \w+s on the current road", pair.answer)


def test_templates_and_slots_give_the_sentences(labels):
    for _, label in labels:
        for pair in label.pairs:
            assert fill(pair.question_template, pair.slots) == pair.question
            assert fill(pair.answer_template, pair.slots) == pair.answer


def test_question_tags_name_key_objects(labels):
    for _, label in labels:
        assert all(set(pair.object_tags) <= label.key_objects.keys() for pair in label.pairs)


def test_key_objects_lie_in_the_image(labels):
    for _, label in labels:
        for value in label.key_objects.values():
            if value.box_2d is not None:
                (left, top), (right, bottom) = value.box_2d
                assert 0 <= left < right <= 1024
                assert 0 <= top < bottom <= 512


def test_location_words_match_the_geometry(labels):
    for frame, label in labels:
        asked = [pair for pair in label.pairs if (pair.cluster, pair.layer) == (4, 0)]
        cars = [car for car in frame.cars if is_considered(car, PUBLISHED_REGION)]
        for car, pair in zip(cars, asked, strict=True):
            place = pair.slots["<LOCATION>"]
            assert place.endswith(front_location(car))
            assert ("right" in place) == (car.position[1] > 2)
            assert ("left" in place) == (car.position[1] < -2)
            assert place.startswith("far") == (car.distance > 25)
            assert place.startswith("nearby") == (car.distance < 15)


def test_distance_of_a_lane_change_is_that_of_the_target_point(labels):
    spoken = 0
    for frame, label in labels:
        x, y = frame.measurement.target_point
        for pair in label.pairs:
            if "<DISTANCE>" in pair.slots:
                spoken += 1
                assert pair.slots["<DISTANCE>"] == f"{int((x * x + y * y) ** 0.5)} m"
                assert f"in {pair.slots['<DISTANCE>']}" in pair.question
    assert spoken > 10


def test_no_pedestrian_outside_the_image_is_counted(labels):
    for frame, label in labels:
        counted = next(pair.answer for pair in label.pairs if (pair.cluster, pair.layer) == (5, 0))
        number = re.search(r"\d+", counted)
        visible = sum(is_in_image(walker, PUBLISHED_REGION) for walker in frame.walkers)
        assert (int(number[0]) if number else 0) <= visible


def test_text_of_a_file_equals_the_standard_encoder(labels):
    for _, label in labels[:40]:
        assert label.to_json() == json.dumps(label.to_dict(), indent=4)


def test_published_generators_lose_frames_for_named_reasons_only(frames):
    reasons = Counter()
    for scenario, frame in frames:
        for make in (lambda s, f: label_frame(f, s, "x.jpg", PARITY), lambda s, f: comment_on(s, f, PARITY)):
            try:
                make(scenario, frame)
            except LabelFailure as reason:
                reasons[str(reason)] += 1
    assert "lane marking type 7 has no word" in reasons
    assert "a warning sign in an InvadingTurn has no type" in reasons


def test_commentary_is_whole_and_equals_its_filled_template(frames):
    for scenario, frame in frames:
        label = comment_on(scenario, frame)
        assert label.commentary == fill(label.template, label.slots)
        assert "<" not in label.commentary
        assert re.fullmatch(r"[A-Z].*\.", label.commentary)
        assert not re.search(r"[^.] Pay attention to the walker", label.commentary)
        assert not re.search(r"  |\.\.|None| \.|as \.| in in | at at ", label.commentary)


def test_commentary_distance_is_that_of_the_cause(frames):
    spoken = 0
    for scenario, frame in frames:
        label = comment_on(scenario, frame)
        if "<DISTANCE>" not in label.slots:
            continue
        spoken += 1
        said = float(label.slots["<DISTANCE>"].removesuffix(" meters"))
        assert said >= 0
        if label.cause_object is not None and label.cause_object["class"] in ("car", "walker"):
            assert said == pytest.approx(label.cause_object["distance"], abs=0.051)
    assert spoken > FRAMES / 20


def test_commentary_calls_a_vehicle_by_its_side(frames):
    for scenario, frame in frames:
        label = comment_on(scenario, frame)
        box = label.cause_object
        if box is not None and box["class"] == "car":
            assert label.cause_text.endswith("left") == (box["position"][1] < -2)
            assert label.cause_text.endswith("right") == (box["position"][1] > 2)


def test_at_least_forty_commentary_templates_occur(frames):
    assert len({comment_on(scenario, frame).template for scenario, frame in frames}) >= 40


def test_same_seed_gives_the_same_commentary(frames):
    for scenario, frame in frames[:50]:
        assert comment_on(scenario, frame) == comment_on(scenario, frame)


def test_optional_distance_is_said_about_half_of_the_time(frames):
    scenario, frame = next(
        (scenario, frame) for scenario, frame in frames if "<DISTANCE>" in comment_on(scenario, frame).slots
    )
    window = Window(frame, scenario, CORRECTED, past=[frame.measurement] * 4, future=[frame.measurement] * 11)
    said = sum("<DISTANCE>" in comment(window, "x.jpg", random.Random(seed)).slots for seed in range(400))
    assert 150 < said < 250
