"""The video of a drive: camera image with predicted path and waypoints, and below it what was said and done."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from driving.camera import DRIVING_CAMERA
from team_code.drive_log import TICKS_PER_SECOND, DriveFrame
from team_code.prompting import spoken

Image = NDArray[np.uint8]

PATH_COLOUR = (224, 58, 62)
WAYPOINT_COLOUR = (46, 204, 113)
TARGET_COLOUR = (52, 132, 240)
PANEL_HEIGHT = 128
WIDTH = 768
"""Width of the video, pixels; the height follows from the camera's aspect ratio plus the panel."""

FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_prediction(image: Image, frame: DriveFrame) -> Image:
    """Draw path (red), waypoints (green) and target points (blue) of a frame into its RGB camera image, on a copy."""
    canvas = np.ascontiguousarray(image.copy())
    layers = (
        (frame.path, PATH_COLOUR, 5),
        (frame.waypoints, WAYPOINT_COLOUR, 6),
        (frame.target_points, TARGET_COLOUR, 8),
    )
    for points, colour, radius in layers:
        _draw_ground_points(canvas, np.asarray(points, dtype=np.float64), colour, radius)
    return canvas


def _draw_ground_points(canvas: Image, points: NDArray[np.float64], colour: tuple[int, int, int], radius: int) -> None:
    if not len(points):
        return
    pixels, in_front = DRIVING_CAMERA.project_ground(points)
    distance = np.linalg.norm(points, axis=1)
    for (u, v), visible, metres in zip(pixels, in_front, distance, strict=True):
        if visible and 0 <= u < canvas.shape[1] and 0 <= v < canvas.shape[0]:
            size = max(2, round(radius * min(1.0, 8.0 / max(metres, 1.0)) + 1))
            cv2.circle(canvas, (round(u), round(v)), size, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(canvas, (round(u), round(v)), size - 1, colour, -1, cv2.LINE_AA)


def compose(image: Image, frame: DriveFrame) -> Image:
    """The picture of one moment: camera with drawings above, text panel below.

    Args:
        image: (H, W, 3) RGB camera image of the frame.
        frame: Its log entry.

    Returns:
        RGB image with even width and height, as video codecs need.
    """
    drawn = draw_prediction(image, frame)
    height = round(WIDTH * image.shape[0] / image.shape[1] / 2) * 2
    picture = cv2.resize(drawn, (WIDTH, height), interpolation=cv2.INTER_AREA)
    panel = np.full((PANEL_HEIGHT, WIDTH, 3), 24, dtype=np.uint8)
    told = spoken(frame.text) or "(no commentary)"
    if frame.instruction:
        told = f"[told: {frame.instruction}]  {told}"
    status = (
        f"{frame.step / TICKS_PER_SECOND:6.1f} s   {frame.speed * 3.6:5.1f} km/h   steer {frame.steer:+.2f}   "
        f"throttle {frame.throttle:.2f}   {'BRAKE' if frame.brake else ''}"
    )
    cv2.putText(panel, status, (12, 22), FONT, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    for row, line in enumerate(textwrap.wrap(told, 84)[:3]):
        cv2.putText(panel, line, (12, 48 + 20 * row), FONT, 0.5, (255, 205, 90), 1, cv2.LINE_AA)
    legend = (("path", PATH_COLOUR, 12), ("waypoints", WAYPOINT_COLOUR, 80), ("targets", TARGET_COLOUR, 190))
    for name, colour, left in legend:
        cv2.circle(panel, (left + 5, PANEL_HEIGHT - 13), 5, colour, -1, cv2.LINE_AA)
        cv2.putText(panel, name, (left + 16, PANEL_HEIGHT - 9), FONT, 0.42, (200, 200, 200), 1, cv2.LINE_AA)
    return np.concatenate([picture, panel])


def pictures(folder: Path, frames: Iterable[DriveFrame]) -> Iterator[Image]:
    """Composed pictures of the frames that have a camera image; one whose file is missing is left out."""
    for frame in frames:
        if frame.image is None:
            continue
        image = cv2.imread(str(folder / "frames" / frame.image))
        if image is not None:
            yield compose(np.asarray(image[:, :, ::-1], dtype=np.uint8), frame)


def picture_rate(frames: Sequence[DriveFrame]) -> float:
    """Pictures per second of game time, at which a video of them runs as fast as the drive did."""
    steps = [frame.step for frame in frames if frame.image is not None]
    return TICKS_PER_SECOND / float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0


def write_video(path: Path, images: Iterator[Image], images_per_second: float) -> int:
    """Write an H.264 video that every browser plays; returns the number of pictures. Without pictures no file is written."""
    import imageio_ffmpeg  # brings its own encoder program; only videos need it

    first = next(images, None)
    if first is None:
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = first.shape[:2]
    temporary = path.with_name(f".{path.name}.tmp.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(temporary), (width, height), fps=images_per_second, codec="libx264", quality=6, macro_block_size=2,
        output_params=["-movflags", "+faststart", "-preset", "veryfast"], ffmpeg_log_level="error",
    )  # fmt: skip
    writer.send(None)
    count = 0
    for image in chain([first], images):
        writer.send(np.ascontiguousarray(image))
        count += 1
    writer.close()
    temporary.replace(path)
    return count
