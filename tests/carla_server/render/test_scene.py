"""What a camera shows obeys geometry: projection, depth, boxes, tags, light."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from carla_server.map import RoadMap
from carla_server.sensors.scene import ActorView, CameraSpec, LampState, Light, Scene, Tag, WeatherView
from carla_server.sensors.showcase import BENCH2DRIVE_WEATHERS, bench2drive_weather
from carla_server.sensors.weather import lighting
from carla_server.world.blueprints import BLUEPRINTS

WIDTH, HEIGHT, FOV = 512, 256, 110.0
FOCAL = WIDTH / (2 * math.tan(math.radians(FOV / 2)))


def street_view(town: RoadMap, index: int = 60) -> tuple[float, float, float, float, float, float]:
    """Pose of a camera 2 m above a lane, looking along it."""
    spot = town.spawn_points[index]
    return (spot.x, spot.y, 2.0, 0.0, spot.yaw, 0.0)


def high_up(x: float, y: float, z: float = 500.0, yaw: float = 0.0) -> tuple[float, float, float, float, float, float]:
    """A pose far above the town, where nothing but sky and the given actors is in view."""
    return (x, y, z, 0.0, yaw, 0.0)


def actor(type_id: str, number: int, pose: tuple[float, ...], **rest: object) -> ActorView:
    row = next(row for row in BLUEPRINTS if row.id == type_id)
    attributes = {item.name: item.default for item in row.attributes}
    return ActorView(number, type_id, pose, row.extent, row.center, attributes, **rest)  # type: ignore[arg-type]


def test_a_box_ahead_covers_the_pixels_that_projection_says(scene: Scene) -> None:
    box = ActorView(7, "static.prop.box01", (12.0, 2.0, 499.5, 0, 0, 0), (0.5, 0.5, 0.5), (0, 0, 0.5))
    frame = scene.render(CameraSpec(WIDTH, HEIGHT, FOV, high_up(0, 0)), [box], WeatherView())
    assert frame.instance is not None
    rows, columns = np.nonzero(frame.instance == 7)
    # Near face at x = 11.5, y 1.5 to 2.5, z -0.5 to 0.5 around the axis; a pixel counts when its middle is inside.
    expected = (WIDTH / 2 + FOCAL * np.array([1.5, 2.5]) / 11.5, HEIGHT / 2 + FOCAL * np.array([-0.5, 0.5]) / 11.5)
    assert columns.max() + 1 == round(expected[0][1])
    assert (rows.min(), rows.max() + 1) == (round(expected[1][0]), round(expected[1][1]))
    # Its left side is seen too, ending at the far face x = 12.5.
    assert columns.min() == round(WIDTH / 2 + FOCAL * 1.5 / 12.5)


def test_depth_of_level_ground_follows_from_the_camera_height(scene: Scene, town: RoadMap) -> None:
    frame = scene.render(CameraSpec(WIDTH, HEIGHT, FOV, street_view(town)), [], WeatherView())
    assert frame.depth is not None
    assert frame.tag is not None
    rows = np.arange(HEIGHT // 2 + 60, HEIGHT)
    middle = frame.depth[rows, WIDTH // 2]
    road = np.isin(frame.tag[rows, WIDTH // 2], (Tag.ROADS, Tag.ROAD_LINES))
    assert road.sum() > 30
    np.testing.assert_allclose(middle[road], (2.0 * FOCAL / (rows + 0.5 - HEIGHT / 2))[road], rtol=1e-4)


def test_pixels_of_an_object_lie_in_its_box(scene: Scene, town: RoadMap) -> None:
    boxes = {row.id: row for row in scene.environment_objects}
    seen: set[int] = set()
    for index in (10, 60, 120, 180):
        pose = street_view(town, index % len(town.spawn_points))
        frame = scene.render(CameraSpec(WIDTH, HEIGHT, FOV, pose), [], WeatherView())
        assert frame.instance is not None
        assert frame.depth is not None
        rows, columns = np.nonzero(frame.instance > 0)
        points = _to_world(pose, rows, columns, frame.depth[rows, columns])
        for number in np.unique(frame.instance[rows, columns]):
            row = boxes[int(number)]
            mine = points[frame.instance[rows, columns] == number] - row.box_center
            yaw = math.radians(row.box_rotation[1])
            turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
            mine[:, :2] = mine[:, :2] @ turn
            if row.tag not in (Tag.POLES, Tag.TRAFFIC_SIGNS):  # arms and boards reach beyond the box of the post
                assert np.all(np.abs(mine) <= np.array(row.box_extent) + 0.3), row.name
            seen.add(int(row.tag))
    assert {Tag.BUILDINGS, Tag.VEGETATION, Tag.POLES} <= seen


def _to_world(pose: tuple[float, ...], rows: np.ndarray, columns: np.ndarray, depth: np.ndarray) -> np.ndarray:
    yaw = math.radians(pose[4])
    right = (columns + 0.5 - WIDTH / 2) / FOCAL * depth
    up = -(rows + 0.5 - HEIGHT / 2) / FOCAL * depth
    x = pose[0] + math.cos(yaw) * depth - math.sin(yaw) * right
    y = pose[1] + math.sin(yaw) * depth + math.cos(yaw) * right
    return np.stack([x, y, pose[2] + up], axis=1)


@pytest.mark.parametrize(
    "type_id",
    [
        "vehicle.lincoln.mkz_2020",
        "vehicle.carlamotors.firetruck",
        "vehicle.mitsubishi.fusorosa",
        "vehicle.bh.crossbike",
        "walker.pedestrian.0001",
        "static.prop.constructioncone",
        "static.prop.trafficwarning",
    ],
)
def test_an_actor_fills_its_bounding_box(scene: Scene, type_id: str) -> None:
    # A narrow lens far away shows the side view nearly without perspective.
    size = 400
    thing = actor(type_id, 5, (0.0, 0.0, 500.0, 0, 0, 0))
    middle = 500.0 + thing.center[2]
    camera = CameraSpec(size, size, 4.0, (0.0, -200.0, middle, 0.0, 90.0, 0.0))
    frame = scene.render(camera, [thing], WeatherView())
    assert frame.instance is not None
    rows, columns = np.nonzero(frame.instance == 5)
    per_m = size / (2 * math.tan(math.radians(2.0)) * 200.0)
    assert np.ptp(columns) + 1 == pytest.approx(2 * thing.extent[0] * per_m, abs=0.04 * size / 10 + 0.12 * per_m)
    assert np.ptp(rows) + 1 == pytest.approx(2 * thing.extent[2] * per_m, abs=0.05 * per_m + 3)


def test_same_arguments_same_pixels(scene: Scene, town: RoadMap) -> None:
    cars = [
        actor("vehicle.tesla.model3", 3, (*street_view(town, 61)[:2], 0.0, 0.0, 30.0, 0.0), lights=int(Light.BRAKE))
    ]
    camera = CameraSpec(WIDTH, HEIGHT, FOV, street_view(town))
    first, second = (scene.render(camera, cars, WeatherView(), 1.5) for _ in range(2))
    for name in ("bgra", "depth", "tag", "instance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_every_weather_of_bench2drive_looks_different(scene: Scene, town: RoadMap) -> None:
    camera = CameraSpec(256, 128, FOV, street_view(town), ("bgra",))
    images = {}
    for number in BENCH2DRIVE_WEATHERS:
        frame = scene.render(camera, [], bench2drive_weather(number), 2.0)
        assert frame.bgra is not None
        images[number] = frame.bgra[..., :3].astype(np.float64)
    for a, b in itertools.combinations(images, 2):
        difference = np.abs(images[a] - images[b]).mean()
        assert difference > 0.8, f"weathers {a} and {b} look alike: mean difference {difference:.2f}"


def test_night_is_darker_than_noon_and_fog_hides_the_distance(scene: Scene, town: RoadMap) -> None:
    camera = CameraSpec(WIDTH, HEIGHT, FOV, street_view(town), ("bgra",))

    def mean(weather: WeatherView) -> float:
        frame = scene.render(camera, [], weather)
        assert frame.bgra is not None
        return float(frame.bgra[..., :3].mean())

    assert mean(WeatherView(sun_altitude_angle=-90)) < 0.4 * mean(WeatherView(sun_altitude_angle=60))
    assert lighting(WeatherView(fog_density=100)).extinction > 20 * lighting(WeatherView(fog_density=0)).extinction


@pytest.mark.parametrize(("state", "channel"), [(LampState.RED, 2), (LampState.GREEN, 1)])
def test_a_traffic_light_shows_its_state(scene: Scene, town: RoadMap, state: LampState, channel: int) -> None:
    signal = next(row for row in town.signals.values() if row.kind.name == "TRAFFIC_LIGHT")
    light = ActorView(77, "traffic.traffic_light", (0, 0, 0, 0, 0, 0), (1, 1, 1), lamp=state, signal_id=signal.id)
    assert signal.stop_left is not None
    assert signal.stop_right is not None
    at = (signal.stop_left + signal.stop_right) / 2
    yaw = signal.stop_yaw
    pose = (at[0] - 6 * math.cos(yaw), at[1] - 6 * math.sin(yaw), 4.0, 0.0, math.degrees(yaw), 0.0)
    frame = scene.render(CameraSpec(WIDTH, HEIGHT, 60.0, pose), [light], WeatherView())
    assert frame.bgra is not None
    assert frame.instance is not None
    pixels = frame.bgra[frame.instance == 77].astype(int)
    assert len(pixels) > 20
    bright = pixels[pixels[:, :3].max(axis=1) > 200]
    assert len(bright) > 3
    assert np.all(bright[:, channel] == bright[:, :3].max(axis=1))


def test_brake_lights_shine(scene: Scene) -> None:
    def red(lights: int) -> int:
        car = actor("vehicle.tesla.model3", 9, (10.0, 0.0, 499.0, 0, 0, 0), lights=lights)
        frame = scene.render(CameraSpec(WIDTH, HEIGHT, 60, high_up(0, 0), ("bgra",)), [car], WeatherView())
        assert frame.bgra is not None
        pixels = frame.bgra.astype(int)
        return int(((pixels[..., 2] > 220) & (pixels[..., 1] < 90)).sum())

    assert red(int(Light.BRAKE)) > red(0) + 50


def test_unknown_output_is_named() -> None:
    with pytest.raises(ValueError, match="normals"):
        CameraSpec(8, 8, 90, (0, 0, 0, 0, 0, 0), ("normals",))


def test_looking_straight_down_on_nothing_shows_the_sky_of_the_horizon(scene: Scene) -> None:
    # The middle of these pictures looks along (0, 0, -1) to the last bit: a direction without azimuth.
    for size in ((33, 17), (65, 33)):
        frame = scene.render(CameraSpec(*size, 90.0, (0.0, 0.0, -50.0, -90.0, 180.0, 90.0)), (), WeatherView())
        assert frame.bgra is not None
        colors = frame.bgra[..., :3].astype(int)
        middle = colors[size[1] // 2, size[0] // 2]
        around = np.delete(colors.reshape(-1, 3), size[1] // 2 * size[0] + size[0] // 2, axis=0)
        assert (middle >= around.min(axis=0) - 1).all()
        assert (middle <= around.max(axis=0) + 1).all()


@pytest.mark.parametrize(("text", "shown"), [("inf,0,0", "255,0,0"), ("1e300,-5,0", "255,0,0"), ("nan,0,0", "none")])
def test_a_paint_that_is_no_colour_costs_no_camera_its_picture(scene: Scene, text: str, shown: str) -> None:
    pictures = []
    for paint in (text, shown):
        car = actor("vehicle.audi.tt", 9, (8.0, 0.0, 499.0, 0.0, 40.0, 0.0))
        car.attributes = {**car.attributes, "color": paint}
        frame = scene.render(CameraSpec(64, 32, FOV, high_up(0, 0), ("bgra",)), [car], WeatherView())
        pictures.append(frame.bgra)
    np.testing.assert_array_equal(*pictures)
