"""Serves the live view to browsers of this machine. Reads the world and never changes it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from carla_server.sensors.scene import CameraSpec
from carla_server.view.facts import map_facts, state_facts
from carla_server.world.state import Kind
from carla_server.world.world import World

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page.html")
#: Size and field of view of the view's camera.
WIDTH, HEIGHT, FOV_DEG = 768, 384, 90.0
JPEG_QUALITY = 80
#: Camera poses: behind and above, at the driver's place, and straight from above; x, z in metres, pitch in degrees.
CAMERAS = {"chase": (-7.0, 3.2, -12.0), "front": (0.4, 1.5, 0.0), "above": (0.0, 40.0, -89.9)}
MAX_REQUEST_BYTES = 16_384
REQUEST_TIMEOUT_S = 10.0


class LiveView:
    """The page and what it asks for.

    Args:
        world: Read from the thread that ticks it.
        clients: Number of connected clients at the moment.
    """

    def __init__(self, world: World, clients: Callable[[], int]) -> None:
        self._world = world
        self._clients = clients
        self._marks: list[tuple[float, int, float]] = []
        self._map: tuple[int, bytes] = (0, b"")

    async def serve(self, port: int) -> int:
        """Listen on localhost and return the port; 0 picks a free one.

        Raises:
            OSError: The port is taken.
        """
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
            method, target = head[:MAX_REQUEST_BYTES].split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
            status, kind, body = await self._answer(method, target)
            lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{lines}Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode("latin-1") + body)
            await writer.drain()
        except (
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.TimeoutError,
        ) as error:
            log.info("live view: a request failed: %s", error)
        finally:
            writer.close()

    async def _answer(self, method: str, target: str) -> tuple[str, str, bytes]:
        """Status, content type and body of an answer."""
        parts = urlsplit(target)
        wanted = {name: texts[-1] for name, texts in parse_qs(parts.query).items()}
        if method != "GET":
            return "405 Method Not Allowed", "text/plain", b"only GET is served here\n"
        if parts.path == "/":
            return "200 OK", "text/html; charset=utf-8", PAGE.read_bytes()
        if parts.path == "/state.json":
            return "200 OK", "application/json", json.dumps(self._state()).encode()
        if parts.path == "/map.json":
            return "200 OK", "application/json", self._map_text()
        if parts.path == "/camera.jpg":
            return await self._camera(wanted)
        return "404 Not Found", "text/plain", b"the live view has /, /state.json, /map.json and /camera.jpg\n"

    def _map_text(self) -> bytes:
        if self._map[0] != self._world.episode:
            self._map = (self._world.episode, json.dumps(map_facts(self._world.road_map)).encode())
        return self._map[1]

    def _state(self) -> dict[str, Any]:
        world, now = self._world, time.monotonic()
        self._marks = [mark for mark in self._marks if now - mark[0] < 3.0 and mark[1] <= world.frame]
        self._marks.append((now, world.frame, world.elapsed))
        first = self._marks[0]
        passed = max(now - first[0], 1e-6)
        facts = state_facts(world)
        facts["ticks_per_s"] = round((world.frame - first[1]) / passed, 1)
        facts["real_time_factor"] = round(max(world.elapsed - first[2], 0.0) / passed, 2)
        facts["clients"] = self._clients()
        return facts

    async def _camera(self, wanted: dict[str, str]) -> tuple[str, str, bytes]:
        """Picture from a chosen actor, or from the spectator if there is none of this number."""
        world = self._world
        number = wanted.get("actor", "0")
        actor = world.actors.get(int(number) if number.isdigit() else 0, world.spectator)
        if actor.kind is Kind.VEHICLE or actor.kind is Kind.WALKER:
            back, up, pitch = CAMERAS.get(wanted.get("camera", ""), CAMERAS["chase"])
            x, y, z, _, yaw, _ = world.pose(actor)
            turn = math.radians(yaw)
            pose = (x + back * math.cos(turn), y + back * math.sin(turn), z + up, pitch, yaw, 0.0)
        else:
            pose = (*world.pose(actor)[:3], *world.pose(actor)[3:])
        spec = CameraSpec(WIDTH, HEIGHT, FOV_DEG, pose, ("bgra",))
        shown, scene, weather, moment = world.sensing.views(), world.scene, world.weather, world.elapsed

        def draw() -> bytes:
            picture = scene.render(spec, shown, weather, moment).bgra
            assert picture is not None
            _, data = cv2.imencode(
                ".jpg", np.ascontiguousarray(picture[..., :3]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            )
            return data.tobytes()

        data = await asyncio.get_running_loop().run_in_executor(None, draw)
        return "200 OK", "image/jpeg", data
