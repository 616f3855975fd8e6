"""Watch a recorded route: camera with boxes, path and waypoints, a view from above, speed, commentary and the expert's reason.

Writes one page that needs nothing else: the video is inside. Where the route has labels the page shows them over the video,
frame by frame: the objects that a question speaks of, and the dreamed futures in the image and from above. Ground truth has
the same colours everywhere (`STYLES`).
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio_ffmpeg
import jinja2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from dataset_generation.index import future_waypoints, poses_by_frame
from dataset_generation.label_overlay import (
    CAUSE_COLOUR,
    KEY_OBJECT_COLOUR,
    MODE_COLOURS,
    FrameLabels,
    overlay,
    read_labels,
)
from dataset_generation.runs import judge, route_facts
from driving.arguments import add_dataset_root
from driving.camera import DRIVING_CAMERA, CameraRig
from driving.commands import RoadOption
from driving.files import write_bytes, write_text
from driving.geometry import box_corners_2d
from driving.records import (
    FRAME_RATE_HZ,
    Box,
    CarBox,
    Measurement,
    PlacedBox,
    RunFolder,
    StaticBox,
    StaticCarBox,
    StopSignBox,
    TrafficLightBox,
    TrafficWarningBox,
    WalkerBox,
    read_boxes,
    read_measurement,
    require_runs,
)

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

TOP_VIEW_PX = 512
TOP_VIEW_SCALE = 8.0
EGO_FROM_BOTTOM_PX = 120
TEXT_HEIGHT_PX = 88
EGO_EXTENT = (2.45, 1.06)
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
BOX_LOOK_AHEAD_M = 60.0


@dataclass(frozen=True)
class Style:
    """How one thing is drawn: BGR colour and line or point size, pixels."""

    colour: Colour
    size: int


STYLES = {
    "route": Style((80, 200, 80), 3),
    "waypoints": Style((60, 120, 255), 5),
    "target_point": Style((255, 80, 220), 7),
    "ego": Style((255, 255, 255), 2),
    "car": Style((235, 170, 40), 2),
    "walker": Style((40, 200, 255), 2),
    "prop": Style((150, 150, 150), 1),
    "lidar": Style((90, 90, 90), 1),
    "Red": Style((50, 50, 240), 3),
    "Yellow": Style((40, 220, 240), 3),
    "Green": Style((70, 220, 70), 3),
    "stop": Style((50, 50, 240), 2),
}
BOX_STYLES: tuple[tuple[type[PlacedBox], str], ...] = (
    (CarBox, "car"),
    (WalkerBox, "walker"),
    (StaticCarBox, "prop"),
    (TrafficWarningBox, "prop"),
    (StaticBox, "prop"),
)

EPILOG = """example:
  python -m dataset_generation.viewer --data database/simlingo --run TownMini01_Rep0_demo_collect_route0 --out route0.html
  python -m dataset_generation.viewer --data database/simlingo --all --out sheets
"""

PAGE = jinja2.Template((Path(__file__).parent / "viewer.html").read_text(), autoescape=True)


@dataclass(frozen=True)
class FrameView:
    """Everything shown of one frame."""

    number: int
    measurement: Measurement
    boxes: list[Box]
    waypoints: NDArray[np.float64]
    labels: FrameLabels

    @property
    def commentary(self) -> str:
        """The commentary, empty without one."""
        return "" if self.labels.commentary is None else self.labels.commentary.commentary


def draw_points(image: Image, points: ArrayLike, style: Style, camera: CameraRig) -> None:
    """Add ground points (N, 2), ego frame, metres, to a camera picture."""
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    pixels, in_front = camera.project_ground(flat)
    for (u, v), seen in zip(pixels, in_front):
        if seen and abs(u) < 5000 and abs(v) < 5000:
            cv2.circle(image, (int(u), int(v)), style.size, style.colour, -1, cv2.LINE_AA)


def draw_box(image: Image, box: PlacedBox, style: Style, camera: CameraRig) -> None:
    """Add the edges of a box to a camera picture."""
    pixels, in_front = camera.project(np.array(box.corners()))
    if not in_front.all() or np.abs(pixels).max() > 5000:
        return
    for a, b in EDGES:
        start, end = pixels[a].astype(int).tolist(), pixels[b].astype(int).tolist()
        cv2.line(image, start, end, style.colour, style.size, cv2.LINE_AA)


def style_of(box: Box) -> Style | None:
    """How a box is drawn, None if it is not."""
    return next((STYLES[name] for kind, name in BOX_STYLES if isinstance(box, kind)), None)


def draw_camera(image: Image, view: FrameView, camera: CameraRig = DRIVING_CAMERA) -> Image:
    """The camera picture with boxes, path and waypoints."""
    picture = image.copy()
    for box in view.boxes:
        style = style_of(box)
        if style is not None and isinstance(box, PlacedBox) and 0 < box.position[0] < BOX_LOOK_AHEAD_M:
            draw_box(picture, box, style, camera)
    draw_points(picture, view.measurement.route, STYLES["route"], camera)
    draw_points(picture, view.waypoints, STYLES["waypoints"], camera)
    draw_points(picture, [view.measurement.target_point], STYLES["target_point"], camera)
    return picture


def _above(points: ArrayLike) -> NDArray[np.int32]:
    """Pixels (N, 2) in the view from above of ego-frame points (N, 2): forward is up."""
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    u = TOP_VIEW_PX / 2 + flat[:, 1] * TOP_VIEW_SCALE
    v = TOP_VIEW_PX - EGO_FROM_BOTTOM_PX - flat[:, 0] * TOP_VIEW_SCALE
    return np.stack([u, v], axis=1).round().astype(np.int32)


def draw_above(view: FrameView) -> Image:
    """Boxes, stop lines, path and waypoints from above, 64 m by 64 m, the ego's heading up."""
    picture = np.full((TOP_VIEW_PX, TOP_VIEW_PX, 3), 32, dtype=np.uint8)

    def polygon(center: Sequence[float], extent: Sequence[float], yaw: float, style: Style) -> None:
        shape = _above(box_corners_2d(center[:2], extent[:2], yaw))
        cv2.polylines(picture, [shape], True, style.colour, style.size, cv2.LINE_AA)

    for box in view.boxes:
        style = style_of(box)
        if isinstance(box, TrafficLightBox) and box.affects_ego and box.state in STYLES:
            polygon(box.position, box.extent, box.yaw, STYLES[box.state])
        elif isinstance(box, StopSignBox) and box.affects_ego:
            polygon(box.position, box.extent, box.yaw, STYLES["stop"])
        elif style is not None and isinstance(box, PlacedBox):
            polygon(box.position, box.half_size, box.yaw, style)
    polygon((0.0, 0.0), EGO_EXTENT, 0.0, STYLES["ego"])
    for name, points in (("route", view.measurement.route), ("waypoints", view.waypoints)):
        for u, v in _above(points).tolist():
            cv2.circle(picture, (u, v), 2, STYLES[name].colour, -1, cv2.LINE_AA)
    u, v = _above([view.measurement.target_point])[0].tolist()
    cv2.circle(picture, (u, v), 5, STYLES["target_point"].colour, -1, cv2.LINE_AA)
    return picture


def draw_text(view: FrameView, width: int) -> Image:
    """Speed, command, decision and commentary."""
    m = view.measurement
    panel = np.full((TEXT_HEIGHT_PX, width, 3), 22, dtype=np.uint8)
    cause = "" if m.speed_reduced_by_obj_type is None else f" {m.speed_reduced_by_obj_type}"
    distance = "" if m.speed_reduced_by_obj_distance is None else f" at {m.speed_reduced_by_obj_distance:.1f} m"
    command = RoadOption(m.command).name.lower()
    first = (
        f"{view.number / FRAME_RATE_HZ:6.2f} s   {m.speed:4.1f} m/s, wants {m.target_speed:4.1f}   command {command}"
    )
    second = f"rule {rule_of(m)}{cause}{distance}   steer {m.steer:+.2f} throttle {m.throttle:.2f}"
    second += " brake" if m.brake or m.control_brake else ""
    second += "   path deviates" if m.changed_route else ""
    for line, text in enumerate((first, second, view.commentary)):
        place = (14, 26 + 26 * line)
        cv2.putText(panel, text[:150], place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (230, 230, 230), 1, cv2.LINE_AA)
    return panel


def rule_of(m: Measurement) -> str:
    """The rule that set the target speed; published recordings lack it, so the hazard flags speak for them."""
    if "decision_rule" in m.extra:
        return str(m.extra["decision_rule"])
    flags = (
        ("walker", m.walker_hazard),
        ("light", m.light_hazard),
        ("stop_sign", m.stop_sign_hazard),
        ("vehicle", m.vehicle_hazard),
    )
    return next((name for name, is_set in flags if is_set), "cruise")


def compose(image: Image, view: FrameView) -> Image:
    """The whole picture of one frame."""
    top = np.concatenate([draw_camera(image, view), draw_above(view)], axis=1)
    return np.concatenate([top, draw_text(view, top.shape[1])])


def read_views(run: RunFolder, labels_root: Path | None = None) -> Iterator[FrameView]:
    """Frames of a run in order; a frame whose measurement does not parse is left out.

    Args:
        run: The run.
        labels_root: Root of the label trees where that is not the dataset root.
    """
    measurements: dict[int, Measurement] = {}
    for frame in run.frames():
        try:
            measurements[frame] = read_measurement(run.measurement_path(frame))
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
    frames, poses = sorted(measurements), poses_by_frame(measurements)
    for frame in frames:
        boxes = run.boxes_path(frame)
        yield FrameView(
            number=frame,
            measurement=measurements[frame],
            boxes=read_boxes(boxes) if boxes.is_file() else [],
            waypoints=future_waypoints(poses, frame - frames[0]),
            labels=read_labels(run if labels_root is None else RunFolder(labels_root, run.relative), frame),
        )


def events_of(views: Sequence[FrameView]) -> list[dict[str, object]]:
    """One row per change of the rule or of the object behind it."""
    rows: list[dict[str, object]] = []
    last: tuple[str, int | None] | None = None
    for view in views:
        m = view.measurement
        key = (rule_of(m), m.speed_reduced_by_obj_id)
        if key == last:
            continue
        last = key
        distance = "" if m.speed_reduced_by_obj_distance is None else f"{m.speed_reduced_by_obj_distance:.1f} m"
        rows.append(
            {
                "frame": view.number,
                "time": view.number / FRAME_RATE_HZ,
                "speed": m.speed,
                "target": m.target_speed,
                "rule": key[0],
                "object": f"{m.speed_reduced_by_obj_type} {m.speed_reduced_by_obj_id}"
                if m.speed_reduced_by_obj_type
                else "",
                "distance": distance,
                "commentary": view.commentary,
            }
        )
    return rows


def compose_missing(number: int, shape: tuple[int, ...]) -> Image:
    """The picture of a frame that cannot be shown, as large as the others."""
    picture = np.full(shape, 22, dtype=np.uint8)
    text = f"{number / FRAME_RATE_HZ:6.2f} s   frame {number} is missing: no readable picture or measurement"
    place = (14, shape[0] - TEXT_HEIGHT_PX + 26)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (230, 230, 230), 1, cv2.LINE_AA)
    return picture


def _video_writer(path: Path, shape: tuple[int, ...], rate: float) -> Generator[None, Image | None, None]:
    """What takes the pictures of a video: BGR of one shape, `rate` of them per second."""
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (shape[1], shape[0]),
        fps=rate,
        pix_fmt_in="bgr24",
        macro_block_size=8,
        output_params=["-movflags", "+faststart", "-preset", "veryfast", "-crf", "30"],
        ffmpeg_log_level="error",
    )
    writer.send(None)
    return writer


def write_video(
    path: Path, run: RunFolder, views: Sequence[FrameView], speed_up: float, show_progress: bool
) -> dict[int, FrameView | None]:
    """Write the video of a run: a picture for every frame from the first to the last that has one, so that its time is that of
    the drive.

    Returns:
        Frame number to view, in the order of the pictures; None for a frame that is missing or has no readable picture.
    """
    writer, shown = None, dict[int, FrameView | None]()
    try:
        for view in tqdm(views, desc=run.name, unit="frame", disable=not show_progress):
            image = cv2.imread(str(run.rgb_path(view.number)))
            if image is None:
                continue
            picture = compose(np.asarray(image, dtype=np.uint8), view)
            if writer is None:
                writer = _video_writer(path, picture.shape, FRAME_RATE_HZ * speed_up)
            for number in range(max(shown, default=view.number - 1) + 1, view.number):
                writer.send(compose_missing(number, picture.shape))
                shown[number] = None
            writer.send(np.ascontiguousarray(picture))
            shown[view.number] = view
    finally:
        if writer is not None:
            writer.close()
    return shown


def _page_data(shown: Mapping[int, FrameView | None], rate: float) -> dict[str, object]:
    """What the script of the page reads: the frames of the video with their labels. A missing one has no rule."""
    return {
        "rate": rate,
        "camera": [DRIVING_CAMERA.width, DRIVING_CAMERA.height],
        "above": TOP_VIEW_PX,
        "text": TEXT_HEIGHT_PX,
        "modes": MODE_COLOURS,
        "objects": KEY_OBJECT_COLOUR,
        "cause": CAUSE_COLOUR,
        "frames": [
            {
                "number": number,
                "rule": "" if view is None else rule_of(view.measurement),
                "commentary": "" if view is None else view.commentary,
                **overlay(FrameLabels() if view is None else view.labels, _above),
            }
            for number, view in shown.items()
        ],
    }


def write_page(
    run: RunFolder, out: Path, speed_up: float = 1.0, show_progress: bool = True, labels_root: Path | None = None
) -> None:
    """Write the page of a run.

    Args:
        run: The run.
        out: Page (``.html``) or video alone (``.mp4``).
        speed_up: Times real time.
        show_progress: Draw a progress bar.
        labels_root: Root of the label trees where that is not the dataset root.

    Raises:
        ValueError: If the run has no frame with a readable picture.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    views, video = list(read_views(run, labels_root)), out.with_suffix(".part.mp4")
    try:
        shown = write_video(video, run, views, speed_up, show_progress)
        if not shown:
            raise ValueError(f"{run.path}: expected frames with measurements and rgb pictures, there is none to show")
        content = video.read_bytes()
    finally:
        video.unlink(missing_ok=True)
    if out.suffix == ".mp4":
        write_bytes(out, content)
        return
    verdict, facts = judge(run), route_facts(run)
    text = f"{facts.town}, scenarios: {', '.join(facts.scenarios) or 'none recorded'}. "
    text += "Used for training." if verdict.is_usable else f"Not used for training: {verdict.reason}."
    colours = [
        (name, "#" + "".join(f"{c:02x}" for c in style.colour[::-1]))
        for name, style in STYLES.items()
        if name != "lidar"
    ]
    page = PAGE.render(
        name=run.name,
        facts=text,
        video=base64.b64encode(content).decode(),
        colours=colours,
        events=events_of(views),
        data=_page_data(shown, FRAME_RATE_HZ * speed_up),
    )
    write_text(out, page)


def find_run(root: Path, name: str) -> RunFolder:
    """The run whose path contains ``name``.

    Raises:
        ValueError: If there is none or more than one.
    """
    found = [run for run in require_runs(root) if name in run.key]
    if len(found) != 1:
        names = ", ".join(run.name for run in (found or require_runs(root))[:5])
        raise ValueError(f"{name!r} fits {len(found)} runs of {root}, expected one; some runs: {names}")
    return found[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 1 runs of ``--all`` that cannot be shown were left out, 2 wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.viewer",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset_root(parser)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--run", help="part of the path of one run")
    choice.add_argument(
        "--all", action="store_true", help="a page for every run, --out is a folder; pages that exist are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("route.html"), help="page (.html) or video (.mp4)")
    parser.add_argument("--labels", type=Path, help="root of the label trees (default: the dataset root)")
    parser.add_argument("--speed-up", type=float, default=1.0, help="times real time (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.all:
            return write_all_pages(options.data, options.out, options.speed_up, options.labels)
        write_page(find_run(options.data, options.run), options.out, options.speed_up, labels_root=options.labels)
        print(options.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def write_all_pages(root: Path, folder: Path, speed_up: float, labels_root: Path | None) -> int:
    """A page for every run that has none; 1 if there are runs that cannot be shown, which are named, else 0."""
    status = 0
    for run in require_runs(root):
        out = folder / f"{run.name}.html"
        if out.exists():
            continue
        try:
            write_page(run, out, speed_up, labels_root=labels_root)
            print(out)
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
