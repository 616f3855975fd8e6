"""Serves the page of a live drive on localhost."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from team_code.drive.cockpit import Cockpit, Request

PAGE = Path(__file__).with_name("page.html")
WORLD_PATHS = ("/state.json", "/map.json", "/camera.jpg")
"""What the page may ask of the simulator's live view, below `/world`."""

WORLD_TIMEOUT_S = 20.0
LONGEST_BODY = 4096


class _Handler(BaseHTTPRequestHandler):
    cockpit: Cockpit
    world_view: str

    def do_GET(self) -> None:
        """The page, the state, the picture, or a look at the world."""
        path = urlsplit(self.path).path
        if path == "/":
            self._send(200, "text/html; charset=utf-8", PAGE.read_bytes())
        elif path == "/state.json":
            self._send(200, "application/json", json.dumps(self.cockpit.state()).encode())
        elif path == "/picture.jpg":
            picture = self.cockpit.picture()
            if picture is None:
                self._refuse(503, "the drive has not begun")
            else:
                self._send(200, "image/jpeg", picture)
        elif path.startswith("/world/") and path.removeprefix("/world") in WORLD_PATHS:
            self._send_world(self.path.removeprefix("/world"))
        else:
            self._refuse(404, "the page has /, /state.json, /picture.jpg and /world/…")

    def do_POST(self) -> None:
        """A request for the driver, or a pause. Only JSON: a form on another site cannot send that without being asked."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Content-Type") != "application/json" or length > LONGEST_BODY:
            self._refuse(415, f"expected application/json of at most {LONGEST_BODY} bytes")
            return
        try:
            value = json.loads(self.rfile.read(length))
            if self.path == "/pause":
                self.cockpit.set_paused(bool(value["paused"]))
            elif self.path == "/say":
                self.cockpit.request(Request.parse(value))
            else:
                self._refuse(404, "requests go to /say or /pause")
                return
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(400, str(error))
            return
        self._send(200, "application/json", b"{}")

    def _send_world(self, path: str) -> None:
        if not self.world_view:
            self._refuse(404, "this simulator has no live view")
            return
        try:
            with urllib.request.urlopen(self.world_view + path, timeout=WORLD_TIMEOUT_S) as answer:
                self._send(200, answer.headers.get_content_type(), answer.read())
        except (OSError, urllib.error.URLError) as error:
            self._refuse(502, f"the simulator's live view does not answer: {error}")

    def _refuse(self, status: int, reason: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{reason}\n".encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Requests are not logged; there are many per second."""


def serve(cockpit: Cockpit, port: int, world_view: str = "") -> ThreadingHTTPServer:
    """Serve the page from threads of this process.

    Args:
        cockpit: What is shown and told.
        port: On localhost; 0 picks a free one.
        world_view: Address of the simulator's live view, or empty.

    Raises:
        OSError: If the port is taken.
    """
    handler = type("Handler", (_Handler,), {"cockpit": cockpit, "world_view": world_view.rstrip("/")})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
