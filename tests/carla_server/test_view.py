"""The live view, asked directly and shown in a headless browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import ServerProcess, synchronous

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def server(carla_server_process: Callable[..., ServerProcess]) -> ServerProcess:
    return carla_server_process("Mini01", "--view")


@pytest.fixture(scope="module")
def address(server: ServerProcess) -> str:
    (line,) = [line for line in server.output if line.startswith("live view at ")]
    return line.removeprefix("live view at ").rstrip("/")


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=150) as answer:
        return answer.read()


@pytest.fixture
def car(server: ServerProcess) -> Any:
    client = server.client()
    with synchronous(client) as world:
        blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
        blueprint.set_attribute("role_name", "hero")
        car = world.spawn_actor(blueprint, world.get_map().get_spawn_points()[0])
        world.tick()
        yield car


def test_state_tells_what_the_client_sees(address: str, car: Any) -> None:
    state = json.loads(get(f"{address}/state.json"))
    (found,) = [actor for actor in state["actors"] if actor["id"] == car.id]
    here = car.get_location()
    assert (found["x"], found["y"]) == pytest.approx((here.x, here.y), abs=0.01)
    assert found["role"] == "hero"
    assert state["town"] == "Mini01"
    assert {light["state"] for light in state["lights"]} <= {"red", "yellow", "green"}


def test_the_camera_shows_the_chosen_actor(address: str, car: Any) -> None:
    pictures = {
        camera: cv2.imdecode(
            np.frombuffer(get(f"{address}/camera.jpg?actor={car.id}&camera={camera}"), np.uint8), cv2.IMREAD_COLOR
        )
        for camera in ("chase", "front", "above")
    }
    for picture in pictures.values():
        assert picture is not None
        assert np.ptp(picture) > 60
    assert not np.array_equal(pictures["chase"], pictures["above"])


@pytest.mark.parametrize("path", ["/nothing", "/../server.py"])
def test_other_paths_are_not_found(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(address + path)


def test_a_nonsense_camera_is_the_free_one(address: str) -> None:
    assert get(f"{address}/camera.jpg?actor=abc&camera=%ff")[:2] == b"\xff\xd8"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page(address: str, car: Any, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}")
    command = [CHROMIUM, *options, "--virtual-time-budget=4000", "--dump-dom", f"{address}/"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert re.search(r'<b id="town">Mini01</b>', page)
    assert re.search(rf'<option value="{car.id}">{car.id} vehicle.tesla.model3</option>', page)
    assert re.search(r'src="[^"]*/camera\.jpg\?actor=', page)
    assert "1 vehicles" in page
