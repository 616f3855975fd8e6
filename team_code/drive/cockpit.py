"""What the driver shows and hears: the meeting place of the tick loop and the page's requests. Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from team_code.drive_log import DriveFrame
from team_code.prompting import spoken
from team_code.report.video import draw_prediction

Image = NDArray[np.uint8]

REMEMBERED = 200
"""Entries of the conversation that are kept."""

LONGEST_TEXT = 300
PICTURE_WIDTH = 960
JPEG_QUALITY = 85


class Kind(str, Enum):
    """What somebody wants of the driver."""

    INSTRUCT = "instruct"
    ASK = "ask"
    RELEASE = "release"


@dataclass(frozen=True)
class Request:
    """Something typed into the page.

    Attributes:
        kind: An instruction, a question, or the end of the instruction that holds.
        text: The words; empty for a release.
        safety: Whether the driver may refuse an instruction.
        navigation: Whether an instruction leaves the way it was going in the prompt.
    """

    kind: Kind
    text: str = ""
    safety: bool = True
    navigation: bool = True

    @classmethod
    def parse(cls, value: Any) -> Request:
        """Read what a browser sent.

        Raises:
            ValueError: If it is no request; the message says what is expected.
        """
        if not isinstance(value, dict) or value.get("kind") not in [kind.value for kind in Kind]:
            raise ValueError(f"kind is one of {', '.join(kind.value for kind in Kind)}; got {value!r:.100}")
        kind, text = Kind(value["kind"]), str(value.get("text", "")).strip()
        if kind is not Kind.RELEASE and not 0 < len(text) <= LONGEST_TEXT:
            raise ValueError(f"text has 1 to {LONGEST_TEXT} characters; got {len(text)}")
        return cls(kind, text, bool(value.get("safety", True)), bool(value.get("navigation", True)))


@dataclass(frozen=True)
class Entry:
    """One line of the conversation.

    Attributes:
        number: Counts up from 0.
        time_s: Game time, seconds.
        who: `you` or `car`.
        text: What was said.
        mood: `instruct`, `ask`, `followed`, `refused`, `no answer`, `answer` or `note`.
    """

    number: int
    time_s: float
    who: str
    text: str
    mood: str


class Cockpit:
    """State of a live drive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=REMEMBERED)
        self._entries: deque[Entry] = deque(maxlen=REMEMBERED)
        self._said = 0
        self._frame: DriveFrame | None = None
        self._image: Image | None = None
        self._route: list[list[float]] = []
        self._name = ""
        self._time_s = self._ratio = 0.0
        self._resume = threading.Event()
        self._resume.set()

    # -- the page's side -------------------------------------------------------------------------------------------------

    def request(self, request: Request) -> None:
        """Leave a request for the driver."""
        with self._lock:
            self._requests.append(request)
            if request.kind is not Kind.RELEASE:
                self._note("you", request.text, request.kind.value)

    def set_paused(self, paused: bool) -> None:
        """Stop or continue the world."""
        if paused:
            self._resume.clear()
        else:
            self._resume.set()

    def state(self) -> dict[str, Any]:
        """Everything but the picture, as plain values."""
        with self._lock:
            frame = self._frame
            return {
                "route_name": self._name,
                "route": self._route,
                "time_s": round(self._time_s, 2),
                "ratio": round(self._ratio, 2),
                "paused": not self._resume.is_set(),
                "frame": asdict(frame) if frame else None,
                "commentary": spoken(frame.text) if frame and not frame.instruction else "",
                "conversation": [asdict(entry) for entry in self._entries],
            }

    def picture(self) -> bytes | None:
        """The camera image with the prediction drawn into it as JPEG, or None before the first."""
        with self._lock:
            image, frame = self._image, self._frame
        if image is None or frame is None:
            return None
        drawn = draw_prediction(image, frame)
        height = round(PICTURE_WIDTH * drawn.shape[0] / drawn.shape[1])
        small = cv2.resize(drawn, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()

    # -- the driver's side -----------------------------------------------------------------------------------------------

    def begin(self, name: str, route: list[list[float]]) -> None:
        """A new route starts.

        Args:
            name: Its name.
            route: (N, 2) points in the world frame, metres.
        """
        with self._lock:
            self._name, self._route = name, route
            self._requests.clear()
            self._note("car", f"New route: {name}", "note")

    def take(self) -> list[Request]:
        """Requests since the last call, oldest first."""
        with self._lock:
            requests = list(self._requests)
            self._requests.clear()
        return requests

    def say(self, text: str, mood: str) -> None:
        """The driver says something."""
        with self._lock:
            self._note("car", text, mood)

    def _note(self, who: str, text: str, mood: str) -> None:
        self._entries.append(Entry(self._said, round(self._time_s, 2), who, text, mood))
        self._said += 1

    def show(self, frame: DriveFrame, image_rgb: Image) -> None:
        """The driver's latest thought and the (H, W, 3) RGB camera image behind it."""
        with self._lock:
            self._frame, self._image = frame, image_rgb

    def tick(self, time_s: float, ratio: float) -> None:
        """Game time, seconds, and how fast it runs against the wall clock; waits here while the drive is paused."""
        with self._lock:
            self._time_s, self._ratio = time_s, ratio
        self._resume.wait()
