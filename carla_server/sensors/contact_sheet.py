"""One picture of what the sensors show: streets in every weather, all actors, and the other cameras and the lidar.

python -m carla_server.sensors.contact_sheet --town Mini01 --out contact_sheet.png
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carla_server.map import RoadMap
from carla_server.sensors import showcase
from carla_server.sensors.scene import CameraSpec, Frame, Pose, Scene, Tag, WeatherView
from carla_server.sensors.suite import make_sensor

Image = NDArray[np.uint8]

TILE = (512, 256)  # width, height of one picture
COLUMNS = 4
FOV = 110.0

# CityScapes colours as CARLA shows them, RGB by tag (`CityScapesPalette.h` of carla-simulator/carla).
PALETTE: dict[Tag, tuple[int, int, int]] = {
    Tag.NONE: (0, 0, 0),
    Tag.ROADS: (128, 64, 128),
    Tag.SIDEWALKS: (244, 35, 232),
    Tag.BUILDINGS: (70, 70, 70),
    Tag.WALLS: (102, 102, 156),
    Tag.FENCES: (190, 153, 153),
    Tag.POLES: (153, 153, 153),
    Tag.TRAFFIC_LIGHT: (250, 170, 30),
    Tag.TRAFFIC_SIGNS: (220, 220, 0),
    Tag.VEGETATION: (107, 142, 35),
    Tag.TERRAIN: (152, 251, 152),
    Tag.SKY: (70, 130, 180),
    Tag.PEDESTRIANS: (220, 20, 60),
    Tag.RIDER: (255, 0, 0),
    Tag.CAR: (0, 0, 142),
    Tag.TRUCK: (0, 0, 70),
    Tag.BUS: (0, 60, 100),
    Tag.TRAIN: (0, 80, 100),
    Tag.MOTORCYCLE: (0, 0, 230),
    Tag.BICYCLE: (119, 11, 32),
    Tag.STATIC: (110, 190, 160),
    Tag.DYNAMIC: (170, 120, 50),
    Tag.OTHER: (55, 90, 80),
    Tag.WATER: (45, 60, 150),
    Tag.ROAD_LINES: (157, 234, 50),
    Tag.GROUND: (81, 0, 81),
    Tag.BRIDGE: (150, 100, 100),
    Tag.RAIL_TRACK: (230, 150, 140),
    Tag.GUARD_RAIL: (180, 165, 180),
}


def palette_image(tag: NDArray[np.uint8]) -> Image:
    """(H, W, 3) BGR picture of a tag image."""
    table = np.zeros((256, 3), np.uint8)
    for row, color in PALETTE.items():
        table[row] = color[::-1]
    return table[tag]


def _labelled(image: Image, text: str) -> Image:
    out = np.asarray(cv2.resize(image, TILE, interpolation=cv2.INTER_AREA), np.uint8)
    cv2.rectangle(out, (0, 0), (8 * len(text) + 10, 18), (0, 0, 0), -1)
    cv2.putText(out, text, (5, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return out


def _shot(scene: Scene, pose: Pose, actors: list, weather: WeatherView, fov: float = FOV) -> Frame:
    return scene.render(CameraSpec(2 * TILE[0], 2 * TILE[1], fov, pose), actors, weather, 3.2)


def _color(frame: Frame) -> Image:
    assert frame.bgra is not None
    return np.ascontiguousarray(frame.bgra[..., :3])


def weather_tiles(scene: Scene, town: RoadMap, spot: int) -> list[Image]:
    """The same street in every weather of Bench2Drive."""
    ego, camera = showcase.ego_at(town, spot)
    actors = [*showcase.clear_of(showcase.traffic(town, 90, 120), camera), ego]
    return [
        _labelled(_color(_shot(scene, camera, actors, showcase.bench2drive_weather(number))), f"weather {number}")
        for number in showcase.BENCH2DRIVE_WEATHERS
    ]


def street_tiles(scene: Scene, town: RoadMap, count: int) -> list[Image]:
    """Streets all over the town."""
    traffic = showcase.traffic(town, 120, 200)
    weather = WeatherView(cloudiness=35, sun_altitude_angle=40, sun_azimuth_angle=60)
    tiles = []
    for spot in np.linspace(0, len(town.spawn_points) - 1, count).astype(int):
        ego, camera = showcase.ego_at(town, int(spot))
        tiles.append(
            _labelled(
                _color(_shot(scene, camera, [*showcase.clear_of(traffic, camera), ego], weather)), f"street {spot}"
            )
        )
    return tiles


def parade_tiles(scene: Scene) -> list[Image]:
    """Vehicles, walkers and props on display high above the town."""
    weather = WeatherView(cloudiness=20, sun_azimuth_angle=200)
    rows = (
        ("vehicle.", 7, (9.0, 4.6), 60.0),
        ("walker.", 10, (2.0, 1.3), 50.0),
        ("static.prop.", 11, (3.4, 3.4), 60.0),
    )
    tiles = []
    for prefix, columns, gap, fov in rows:
        actors = showcase.parade((gap[0] * 0.9 + 2.0, 0.0, 1000.0), prefix, columns, gap)
        height = 1000.0 + 0.85 * gap[1] + 0.8
        tiles.append(_labelled(_color(_shot(scene, (0.0, 0.0, height, -14.0, 0.0, 0.0), actors, weather, fov)), prefix))
    doors = showcase.parade((9.0, 0.0, 1000.0), "vehicle.lincoln", 2, (9.0, 5.5))
    for row in doors:
        row.open_doors = 15
    tiles.append(_labelled(_color(_shot(scene, (0, 0, 1002.2, -10, 0, 0), doors, weather, 60.0)), "open doors"))
    return tiles


def sensor_tiles(scene: Scene, town: RoadMap, spot: int) -> list[Image]:
    """Depth, tags, instances and lidar of one street."""
    ego, camera = showcase.ego_at(town, spot)
    actors = [*showcase.clear_of(showcase.traffic(town, 90, 120), camera), ego]
    frame = _shot(scene, camera, actors, WeatherView())
    assert frame.depth is not None
    assert frame.tag is not None
    assert frame.instance is not None
    near = np.clip(255 * (1 - np.log(np.clip(frame.depth, 1, 300)) / math.log(300)), 0, 255).astype(np.uint8)
    shuffled = (frame.instance.astype(np.int64)[..., None] * (73856093, 19349663, 83492791)) % 251
    return [
        _labelled(np.asarray(cv2.applyColorMap(near, cv2.COLORMAP_VIRIDIS), np.uint8), "depth"),
        _labelled(palette_image(frame.tag), "semantic segmentation"),
        _labelled(shuffled.astype(np.uint8), "instance segmentation"),
        _labelled(_lidar_image(scene, ego.transform, actors), "lidar, one turn, from above"),
    ]


def _lidar_image(scene: Scene, ego: Pose, actors: list) -> Image:
    wide, tall = 2 * TILE[0], 2 * TILE[1]
    image = np.zeros((tall, wide, 3), np.uint8)
    lidar = make_sensor("sensor.lidar.ray_cast", {"channels": "64", "range": "85", "points_per_second": "600000"})
    pose = (*ego[:2], ego[2] + 2.5, *ego[3:])
    for _ in range(2):
        payload = lidar.measure(scene, pose, (0.0, 0.0, 0.0), actors, WeatherView(), 0.0, 0.05)
        (channels,) = struct.unpack("<I", payload[4:8])
        points = np.frombuffer(payload[8 + 4 * channels :], "<f4").reshape(-1, 4)
        u, v = (wide / 2 + points[:, 0] * 6).astype(int), (tall / 2 + points[:, 1] * 6).astype(int)
        inside = (u >= 0) & (u < wide) & (v >= 0) & (v < tall)
        shade = np.clip(90 + 50 * (points[inside, 2] + 2.5), 0, 255).astype(np.uint8)
        color = cv2.applyColorMap(shade[:, None], cv2.COLORMAP_TURBO)[:, 0]
        image[v[inside], u[inside]] = color
    return image


def contact_sheet(town: RoadMap, spot: int) -> Image:
    """All tiles in rows of `COLUMNS`, BGR."""
    scene = Scene(town)
    tiles = [
        *street_tiles(scene, town, 8),
        *parade_tiles(scene),
        *sensor_tiles(scene, town, spot),
        *weather_tiles(scene, town, spot),
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(tiles[k : k + COLUMNS], axis=1) for k in range(0, len(tiles), COLUMNS)]
    return np.concatenate(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the sheet; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m carla_server.sensors.contact_sheet",
        description="Draw one picture of a town's streets, weathers, actors and sensors.",
        epilog="example: python -m carla_server.sensors.contact_sheet --town Mini01 --out contact_sheet.png",
    )
    showcase.add_town(parser)
    parser.add_argument("--spot", type=int, default=90, help="spawn point whose street is shown in all weathers")
    parser.add_argument("--out", type=Path, default=Path("contact_sheet.png"), help="PNG or JPEG file to write")
    options = parser.parse_args(arguments)
    image = contact_sheet(options.town, options.spot)
    if not cv2.imwrite(str(options.out), image):
        print(f"cannot write {options.out}; give a .png or .jpg file in an existing folder", file=sys.stderr)
        return 2
    print(f"{options.out}: {image.shape[1]} x {image.shape[0]} pixels")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
