"""The label viewer draws what the labels say, where the camera sees it."""

import html
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataset_generation import label_viewer, viewer
from dataset_generation.label_overlay import cause_bounds, dreamed_paths, overlay, read_labels
from dataset_generation.label_viewer import (
    add_key_objects,
    caption,
    draw_frame,
    load_frame,
    pick_run,
    plt,
)
from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import CORRECTED
from dataset_generation.language_labels.runner import LabelOptions, label_dataset
from dataset_generation.language_labels.synthetic import write_route
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from driving.camera import DRIVING_CAMERA
from driving.files import write_json
from driving.label_records import CommentaryLabel
from driving.records import DREAMER, RunFolder, StaticBox

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("viewer")
    made = write_route(root, 3, 13, num_cars=4)
    for frame in range(13):
        cv2.imwrite(str(made.rgb_path(frame)), np.full((512, 1024, 3), 90, np.uint8))
    label_dataset(
        [VqaLabeller(CORRECTED), CommentaryLabeller(CORRECTED)], LabelOptions(root, root, root / "none", CORRECTED)
    )
    dream = {
        "waypoints": [[3.0 * i, 0.5 * i] for i in range(1, 11)],
        "safe_to_execute": False,
        "dreamer_instruction": ["Go <left> & fast."],
        "dreamer_answer_safety": "Ignore.",
    }
    write_json(
        made.label_path(DREAMER, 12), {"faster": [dream, {**dream, "waypoints": "org"}], "faster_factor": [dream]}
    )
    return made


def test_picture_has_the_size_of_a_page_and_holds_image_map_and_words(run):
    figure = draw_frame(load_frame(run, 12))
    figure.canvas.draw()
    assert len(figure.axes) == 3
    width, height = figure.canvas.get_width_height()
    assert width > height > 500
    plt.close(figure)


def test_rectangles_lie_on_the_key_objects_of_the_question(run):
    frame = next(frame for frame in (load_frame(run, n) for n in range(13)) if frame.labels.pairs((4, 0)))
    asked = frame.labels.pairs((4, 0))
    tags = set(asked[0].object_tags)
    figure, ax = plt.subplots()
    add_key_objects(ax, frame, tags)
    (left, top), (right, bottom) = frame.labels.vqa.key_objects[asked[0].object_tags[0]].box_2d
    assert len(ax.patches) == len(tags)
    assert ax.patches[0].get_bbox().bounds == pytest.approx((left, top, right - left, bottom - top))
    plt.close(figure)


def test_only_alternatives_with_their_own_waypoints_and_wording_are_drawn(run):
    paths = dreamed_paths(load_frame(run, 12).labels.dreams)
    assert [mode for mode, _, _ in paths] == ["faster"]
    np.testing.assert_allclose(paths[0][2][-1], [30.0, 5.0])


def test_overlay_puts_the_labels_where_the_dataset_viewer_draws(run):
    labels = read_labels(run, 12)
    shapes = overlay(labels, viewer._above)
    assert [question[:3] for question in shapes["questions"]] == [
        [f"{p.cluster},{p.layer}", p.question, p.answer] for p in labels.pairs()
    ]
    bounds = {tuple(row[1:]) for row in shapes["objects"]}
    for thing in labels.vqa.key_objects.values():
        assert thing.box_2d is None or tuple(round(v) for row in thing.box_2d for v in row) in bounds
    mode, said, answer, safe, image, above = shapes["dreams"][0]
    assert (mode, said, answer, safe) == ("faster", ["Go <left> & fast."], "Ignore.", False)
    points = dreamed_paths(labels.dreams)[0][2]
    pixels, _ = DRIVING_CAMERA.project_ground(points)
    assert image == [[round(u), round(v)] for u, v in pixels.tolist()]
    # Forward is up and right is right, in the view from above too.
    assert above[-1][1] < above[0][1]
    assert above[-1][0] > above[0][0]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_prop_is_marked_as_it_stands():
    """A barrier across the lane: in files its length and width are exchanged."""
    barrier = StaticBox(type_id="barrier", extent=[1.5, 0.1, 0.5], position=[10.0, 0.0, 0.0], distance=10.0)
    said = CommentaryLabel("", "", "", True, barrier.to_dict(), "a barrier", None, {})
    (left, top), (right, bottom) = cause_bounds(said)
    assert (right - left) / (bottom - top) == pytest.approx(3.0, rel=0.1)
    picture = np.zeros((DRIVING_CAMERA.height, DRIVING_CAMERA.width, 3), np.uint8)
    viewer.draw_box(picture, barrier, viewer.Style((255, 255, 255), 1), DRIVING_CAMERA)
    rows, columns = picture.any(2).nonzero()
    np.testing.assert_allclose(
        [columns.min(), rows.min(), columns.max(), rows.max()], [left, top, right, bottom], atol=2
    )


def test_page_of_a_run_shows_its_labels_in_a_browser(run, tmp_path):
    page = tmp_path / "run.html"
    viewer.write_page(run, page, show_progress=False)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    dom = subprocess.run(
        [CHROMIUM, *options, f"file://{page}#0"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    labels = read_labels(run, 0)
    assert dom.count("data-hover") >= len(labels.pairs())
    assert html.escape(labels.pairs()[0].question, quote=False) in dom
    boxes = [thing for thing in labels.vqa.key_objects.values() if thing.box_2d is not None]
    assert dom.count("<rect") >= len(boxes) > 0
    assert "frame 0, rule" in dom


def test_caption_begins_with_the_commentary_and_is_cut(run):
    frame = load_frame(run, 12)
    text = caption(frame, frame.labels.vqa.pairs, lines=6)
    assert frame.labels.commentary.commentary.split()[0] in text.splitlines()[0]
    assert text.splitlines()[-1] == "…"
    assert len(text.splitlines()) == 6


def test_page_shows_each_frame_and_escapes_its_words(run, tmp_path, monkeypatch, capsys):
    arguments = ["viewer", "--data", str(run.root), "--frames", "11", "12", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert label_viewer.main() == 0
    page = Path(capsys.readouterr().out.strip().splitlines()[-1]).read_text()
    assert "Go &lt;left&gt; &amp; fast." in page
    for name in ("0011.png", "0012.png"):
        assert f"<img src='{name}'>" in page
        assert cv2.imread(str(tmp_path / name)).shape[0] > 400


def test_unknown_run_and_frame_are_named(run, tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="0 runs"):
        pick_run(run.root, "Town99")
    monkeypatch.setattr(sys, "argv", ["viewer", "--data", str(run.root), "--frames", "99", "--out", str(tmp_path)])
    assert label_viewer.main() == 2
    assert "0099.json.gz" in capsys.readouterr().err


def test_frame_without_labels_is_still_drawn(run, tmp_path):
    frame = load_frame(run, 5, labels_root=tmp_path)
    assert frame.labels.vqa is None
    assert isinstance(frame.run, RunFolder)
    plt.close(draw_frame(frame))


def test_missing_frames_keep_their_time_in_the_video_and_in_the_waypoints(run, tmp_path):
    shutil.copytree(run.root, tmp_path / "data_root")
    holey = RunFolder(tmp_path / "data_root", run.relative)
    whole = {view.number: view for view in viewer.read_views(run)}
    holey.measurement_path(4).unlink()
    for number in (0, 7, 12):
        holey.rgb_path(number).unlink()
    views = list(viewer.read_views(holey))
    assert [view.number for view in views] == [0, 1, 2, 3, *range(5, 13)]
    # Row k lies k + 1 frames ahead; of a frame that is missing only its own waypoint is another.
    np.testing.assert_array_equal(views[2].waypoints[2:], whole[2].waypoints[2:])
    np.testing.assert_array_equal(views[4].waypoints, whole[5].waypoints)
    shown = viewer.write_video(tmp_path / "video.mp4", holey, views, 1.0, show_progress=False)
    assert [*shown] == [*range(1, 12)]
    assert [number for number, view in shown.items() if view is None] == [4, 7]
    video = cv2.VideoCapture(str(tmp_path / "video.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(shown)
    pictures = [video.read()[1] for _ in shown]
    # A frame that is missing shows no camera picture, which here is grey.
    assert [round(float(picture[50:450, 50:200].mean())) > 60 for picture in pictures] == [
        number not in (4, 7) for number in shown
    ]
    page = viewer._page_data(shown, 4.0)["frames"]
    assert [row["number"] for row in page] == [*shown]
    assert [row["rule"] == "" for row in page] == [view is None for view in shown.values()]
