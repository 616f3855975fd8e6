"""Pictures of labels: the frame with the objects a question speaks of, and the dreamed futures in the image and from above.

``python -m dataset_generation.label_viewer --data database/simlingo --run Town12_Rep0_1971 --frames 12 20`` writes one picture
per frame and a page that shows them with every question.
"""

from __future__ import annotations

import argparse
import html
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray
from tqdm import tqdm

from dataset_generation.label_overlay import (
    CAUSE_COLOUR,
    KEY_OBJECT_COLOUR,
    MODE_COLOURS,
    FrameLabels,
    cause_bounds,
    dreamed_paths,
    read_labels,
    spoken,
)
from dataset_generation.viewer import BOX_STYLES, STYLES
from driving.arguments import add_dataset_root, positive
from driving.camera import DRIVING_CAMERA
from driving.files import write_text
from driving.geometry import box_corners_2d
from driving.label_records import CommentaryLabel, QaPair
from driving.records import (
    Box,
    EgoCarBox,
    Measurement,
    PlacedBox,
    RunFolder,
    frame_name,
    read_boxes,
    read_measurement,
    require_runs,
)

VIEW_AHEAD, VIEW_BEHIND, VIEW_ASIDE = 50.0, 12.0, 22.0
"""Extent of the view from above, metres."""


def colour_of(style: str) -> tuple[float, float, float]:
    """Colour of a thing in the dataset viewer's table, as red, green and blue in [0, 1]."""
    blue, green, red = STYLES[style].colour
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class LabelledFrame:
    """Everything known about one frame.

    Attributes:
        run: The run folder.
        number: Frame number.
        measurement: What the expert knew.
        boxes: All boxes.
        image: (H, W, 3) RGB front image, or None.
        labels: Its labels.
    """

    run: RunFolder
    number: int
    measurement: Measurement
    boxes: Sequence[Box]
    image: NDArray[np.uint8] | None
    labels: FrameLabels


def load_frame(run: RunFolder, number: int, labels_root: Path | None = None) -> LabelledFrame:
    """Read a frame with all labels it has.

    Args:
        run: The run folder.
        number: Frame number.
        labels_root: Root of the label trees where that is not the dataset root.

    Raises:
        FileNotFoundError: If measurement or boxes do not exist.
        ValueError: If a file is malformed; the message names it.
    """
    labelled = run if labels_root is None else RunFolder(labels_root, run.relative)
    image = cv2.imread(str(run.rgb_path(number)), cv2.IMREAD_COLOR)
    return LabelledFrame(
        run,
        number,
        read_measurement(run.measurement_path(number)),
        read_boxes(run.boxes_path(number)),
        None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8),
        read_labels(labelled, number),
    )


# Camera ---------------------------------------------------------------------------------------------------------------


def add_image(ax: Axes, frame: LabelledFrame) -> None:
    """The front image, grey where it is missing, with pixel axes."""
    size = DRIVING_CAMERA.height, DRIVING_CAMERA.width
    ax.imshow(np.full((*size, 3), 128, np.uint8) if frame.image is None else frame.image)
    ax.set(xlim=(0, size[1]), ylim=(size[0], 0), xticks=[], yticks=[])


def add_key_objects(ax: Axes, frame: LabelledFrame, tags: set[str] | None = None) -> None:
    """Rectangles around key objects with their descriptions; only those in ``tags`` when given."""
    for key, thing in ({} if frame.labels.vqa is None else frame.labels.vqa.key_objects).items():
        if thing.box_2d is None or (tags is not None and key not in tags):
            continue
        _add_rectangle(ax, thing.box_2d, f"{key[1:].partition(',')[0]} {thing.description}", KEY_OBJECT_COLOUR)


def add_cause(ax: Axes, commentary: CommentaryLabel | None) -> None:
    """A rectangle around the object a commentary speaks of."""
    bounds = cause_bounds(commentary)
    if bounds is not None:
        _add_rectangle(ax, bounds, "", CAUSE_COLOUR, dashed=True)


def _add_rectangle(ax: Axes, bounds: Sequence[Sequence[float]], text: str, colour: str, dashed: bool = False) -> None:
    (left, top), (right, bottom) = bounds
    style = "--" if dashed else "-"
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=1.6, ls=style))
    if text:
        place = min(max(left, 2), DRIVING_CAMERA.width - 8 * len(text)), max(top - 4, 12)
        ax.text(*place, text, color="black", fontsize=7, backgroundcolor=colour, va="bottom", clip_on=True).set_bbox(
            {"facecolor": colour, "edgecolor": "none", "pad": 1}
        )


def add_dreams_to_image(ax: Axes, frame: LabelledFrame) -> None:
    """Dreamed waypoints on the ground, one line per alternative."""
    for mode, _, points in dreamed_paths(frame.labels.dreams):
        pixels, in_front = DRIVING_CAMERA.project_ground(points)
        shown = pixels[in_front]
        ax.plot(shown[:, 0], shown[:, 1], "-o", color=MODE_COLOURS[mode], ms=3, lw=1.2, alpha=0.9)


# From above -----------------------------------------------------------------------------------------------------------


def add_boxes_from_above(ax: Axes, boxes: Sequence[Box]) -> None:
    """Footprints of the boxes; forward is up, right is right, metres."""
    styles: tuple[tuple[type[PlacedBox], str], ...] = ((EgoCarBox, "ego"), *BOX_STYLES)
    for kind, style in styles:
        for box in boxes:
            if isinstance(box, kind):
                outline = box_corners_2d(box.position[:2], box.extent[:2], box.yaw)[:, ::-1]
                ax.add_patch(Polygon(outline, closed=True, fc=colour_of(style), ec="black", lw=0.6, alpha=0.85))


def add_route(ax: Axes, measurement: Measurement) -> None:
    """The route of the expert, and the original one where it differs."""
    if measurement.changed_route:
        original = np.asarray(measurement.route_original)
        ax.plot(original[:, 1], original[:, 0], ":", color="gray", lw=1.5, label="original route")
    route = np.asarray(measurement.route)
    ax.plot(route[:, 1], route[:, 0], "-", color=colour_of("route"), lw=2.5, alpha=0.6, label="route")


def add_dreams_from_above(ax: Axes, frame: LabelledFrame) -> None:
    """Dreamed waypoints; alternatives that must be refused are dashed."""
    named: set[str] = set()
    for mode, alternative, points in dreamed_paths(frame.labels.dreams):
        style = "-o" if alternative["safe_to_execute"] else "--o"
        label = None if mode in named else mode
        named.add(mode)
        ax.plot(points[:, 1], points[:, 0], style, color=MODE_COLOURS[mode], ms=2.5, lw=1, label=label)


def add_view_from_above(ax: Axes, frame: LabelledFrame) -> None:
    """Boxes, routes and dreams with the ego vehicle at the origin, forward up."""
    add_boxes_from_above(ax, frame.boxes)
    add_route(ax, frame.measurement)
    add_dreams_from_above(ax, frame)
    ax.set(
        xlim=(-VIEW_ASIDE, VIEW_ASIDE),
        ylim=(-VIEW_BEHIND, VIEW_AHEAD),
        aspect="equal",
        xlabel="right [m]",
        ylabel="ahead [m]",
    )
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7, loc="lower right")


# Pictures and pages ---------------------------------------------------------------------------------------------------


def caption(frame: LabelledFrame, pairs: Sequence[QaPair], width: int = 118, lines: int = 16) -> str:
    """Commentary and questions as wrapped text of at most ``lines`` lines."""
    parts = []
    if frame.labels.commentary is not None:
        scenario = frame.labels.commentary.scenario or "no scenario"
        parts.append(f"[{scenario}]  {frame.labels.commentary.commentary}")
    parts += [f"Q {pair.question}\n   A {pair.answer}" for pair in pairs]
    wrapped = [
        row
        for part in parts
        for line in part.split("\n")
        for row in textwrap.wrap(line, width, subsequent_indent="     ")
    ]
    return "\n".join([*wrapped[: lines - 1], "…"] if len(wrapped) > lines else wrapped)


def draw_frame(frame: LabelledFrame, node: tuple[int, int] | None = None) -> plt.Figure:
    """One picture: the image with the objects spoken of, the view from above, and the words.

    Args:
        frame: What to draw.
        node: Show the questions of this graph node and their objects only.
    """
    figure = plt.figure(figsize=(14, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2.6, 1), height_ratios=(1.75, 1))
    camera, above, words = (figure.add_subplot(place) for place in (grid[0, 0], grid[:, 1], grid[1, 0]))
    pairs = frame.labels.pairs(node)
    add_image(camera, frame)
    add_key_objects(camera, frame, None if node is None else {tag for pair in pairs for tag in pair.object_tags})
    if node is None:
        add_cause(camera, frame.labels.commentary)
        add_dreams_to_image(camera, frame)
    add_view_from_above(above, frame)
    camera.set_title(f"{frame.run.name}  frame {frame.number}  {frame.measurement.speed:.1f} m/s", fontsize=9)
    words.axis("off")
    words.text(0, 1, caption(frame, pairs), va="top", fontsize=8, family="monospace", transform=words.transAxes)
    return figure


def _page_section(frame: LabelledFrame, picture: str, node: tuple[int, int] | None) -> str:
    rows = "".join(
        f"<tr><td>{pair.cluster},{pair.layer}</td><td>{html.escape(pair.question)}</td>"
        f"<td>{html.escape(pair.answer)}</td></tr>"
        for pair in frame.labels.pairs(node)
    )
    dreams = "".join(
        f"<tr><td>{html.escape(mode)}</td><td>{html.escape(' / '.join(spoken(sample)))}</td>"
        f"<td>{html.escape(sample['dreamer_answer_safety'])}</td></tr>"
        for mode, samples in frame.labels.dreams.items()
        for sample in samples
    )
    said = "" if frame.labels.commentary is None else f"<p><b>{html.escape(frame.labels.commentary.commentary)}</b></p>"
    return (
        f"<h2>frame {frame.number}</h2><img src='{html.escape(picture)}'>{said}"
        f"<details><summary>questions</summary><table>{rows}</table></details>"
        f"<details><summary>dreams</summary><table>{dreams}</table></details>"
    )


PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px sans-serif;max-width:1200px;margin:2em auto}}img{{width:100%}}
td{{border-top:1px solid #ccc;padding:2px 8px}}</style><h1>{title}</h1>{body}
"""


def write_gallery(
    run: RunFolder,
    frames: Sequence[int],
    out: Path,
    labels_root: Path | None = None,
    node: tuple[int, int] | None = None,
) -> Path:
    """Draw frames of a run and write the page that shows them; returns the page.

    Raises:
        FileNotFoundError: If a frame does not exist.
        ValueError: If a file is malformed.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for number in tqdm(frames, desc=run.name, unit="frame"):
        frame = load_frame(run, number, labels_root)
        picture = f"{frame_name(number)}.png"
        figure = draw_frame(frame, node)
        figure.savefig(out / picture, dpi=90)
        plt.close(figure)
        sections.append(_page_section(frame, picture, node))
    page = out / "index.html"
    write_text(page, PAGE.format(title=html.escape(run.key), body="".join(sections)))
    return page


def pick_run(root: Path, name: str | None) -> RunFolder:
    """The run whose key contains ``name``, the first one without a name.

    Raises:
        FileNotFoundError: If there is no dataset.
        ValueError: If no run or more than one matches.
    """
    runs = [run for run in require_runs(root) if name is None or name in run.key]
    if not runs or (name is not None and len(runs) > 1):
        known = ", ".join(run.name for run in (runs or require_runs(root))[:5])
        raise ValueError(f"{len(runs)} runs of {root} match {name!r}, expected one; there are {known} …")
    return runs[0]


def main() -> int:
    """Draw labelled frames of one run."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.label_viewer",
        description="Draw labelled frames: image with objects, view from above, questions, commentary and dreams.",
        epilog="example: python -m dataset_generation.label_viewer --data database/simlingo --every 20 --out outputs/labels",
    )
    add_dataset_root(parser)
    parser.add_argument("--labels", type=Path, help="root of the label trees (default: the dataset root)")
    parser.add_argument("--run", help="part of the run's path (default: the first run)")
    parser.add_argument("--frames", type=int, nargs="+", help="frame numbers (default: every 20th)")
    parser.add_argument(
        "--every", type=positive, default=20, help="without --frames, every this many (default: %(default)s)"
    )
    parser.add_argument(
        "--node", type=int, nargs=2, metavar=("CHAIN", "LAYER"), help="questions of this graph node only"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/labels"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        run = pick_run(arguments.data, arguments.run)
        frames = arguments.frames or run.frames()[:: arguments.every]
        node = None if arguments.node is None else (arguments.node[0], arguments.node[1])
        page = write_gallery(run, frames, arguments.out, arguments.labels, node)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
