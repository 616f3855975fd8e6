"""The kernels that were made fast do what their plain descriptions say."""

from __future__ import annotations

import importlib
import math
import pkgutil

import numpy as np
from numba.core.registry import CPUDispatcher

import carla_server
from carla_server.map import RoadMap
from carla_server.sensors.raster import LANES, NO_TRIANGLE, TWO_SIDED, rasterize
from carla_server.sensors.rays import faces_for
from carla_server.sensors.scene import Scene
from carla_server.sensors.shading import _sine
from carla_server.sensors.showcase import clear_of, ego_at, traffic

WIDTH, HEIGHT, FOCAL, NEAR, FAR = 96, 64, 48.0, 0.05, 100.0


def plain_depths(corners: np.ndarray) -> np.ndarray:
    """(H, W) inverse depth of the nearest triangle on each pixel's ray: rays and triangles met one by one, in doubles."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([np.ones(x.shape), (x + 0.5 - WIDTH / 2) / FOCAL, -(y + 0.5 - HEIGHT / 2) / FOCAL], -1)
    nearest = np.full((HEIGHT, WIDTH), 1 / FAR)
    for a, b, c in corners:
        sides = np.stack([np.cross(a, b), np.cross(b, c), np.cross(c, a)])
        normal = np.cross(b - a, c - a)
        turns = rays @ sides.T
        inside = (turns > 0).all(axis=2) | (turns < 0).all(axis=2)
        inverse = rays @ normal / (normal @ a)
        nearest = np.where(inside & (inverse > nearest) & (inverse < 1 / NEAR), inverse, nearest)
    return nearest


def test_triangles_of_all_sizes_cover_the_middles_of_pixels() -> None:
    rng = np.random.default_rng(5)
    middles = np.stack([rng.uniform(1, 40, 400), rng.uniform(-1, 1, 400), rng.uniform(-0.7, 0.7, 400)], 1)
    middles[:, 1:] *= middles[:, :1]
    sizes = 10 ** rng.uniform(-2.0, 0.7, (400, 1, 1))
    corners = (middles[:, None, :] + sizes * rng.normal(size=(400, 3, 3))).astype(np.float32)
    corners = np.concatenate([corners, rng.uniform(-3, 3, (8, 3, 3)).astype(np.float32)])
    zbuf = np.full(WIDTH * HEIGHT + LANES, 1 / FAR, np.float32)
    ibuf = np.full(WIDTH * HEIGHT + LANES, NO_TRIANGLE, np.int32)
    count = len(corners)
    src, drw, plane = np.empty(count, np.int32), np.empty(count, np.int32), np.empty((count, 3), np.float32)
    wide = np.ascontiguousarray(corners.reshape(-1, 9).T)
    flags = np.full(count, TWO_SIDED, np.uint8)
    spans = np.array([0, 300]), np.array([300, count])
    mats = np.tile(np.eye(4, dtype=np.float32)[:3].reshape(12), (2, 1))
    used = rasterize(wide, flags, *spans, mats, WIDTH, HEIGHT, FOCAL, NEAR, zbuf, ibuf, src, drw, plane)
    got, wanted = zbuf[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH), plain_depths(corners.astype(np.float64))
    # Rays that graze an edge may fall on either side of it.
    assert (np.abs(got - wanted) > 1e-4 * wanted).mean() < 2e-3
    assert 50 < used < count
    seen = ibuf[: WIDTH * HEIGHT][ibuf[: WIDTH * HEIGHT] >= 0]
    assert set(drw[:used][src[:used] < 300]) == {0}
    assert seen.max() < used


def test_distances_alone_are_those_of_the_whole_cast(scene: Scene, town: RoadMap) -> None:
    ego, pose = ego_at(town, 3)
    actors = [*clear_of(traffic(town, 40, 40, seed=2), pose), ego]
    rays = np.random.default_rng(1).normal(size=(3000, 3)).astype(np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    alone = scene.reach(pose, len(rays), faces_for(rays), actors, 60.0)
    np.testing.assert_array_equal(alone, scene.cast(pose, rays, actors, 60.0).distance)
    assert np.isfinite(alone).sum() > 1000


def test_sines_are_sines() -> None:
    places = [*np.linspace(-20.0, 20.0, 4001).tolist(), *np.random.default_rng(2).uniform(-1e4, 1e4, 2000).tolist()]
    assert max(abs(_sine.py_func(x) - math.sin(x)) for x in places) < 1e-15


def test_a_kernel_just_compiled_rounds_as_one_from_the_disk() -> None:
    """With loose arithmetic each copy of a function may round in its own way, so there must be no copies."""
    names = [module.name for module in pkgutil.walk_packages(carla_server.__path__, "carla_server.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    functions = {f for module in modules for f in vars(module).values() if isinstance(f, CPUDispatcher)}
    loose = {f.py_func.__qualname__: f.targetoptions for f in functions if f.targetoptions.get("fastmath")}
    assert {"rasterize", "shade"} <= loose.keys()
    assert [name for name, options in loose.items() if not options.get("forceinline")] == []
