"""Brings the data of all sensors of one tick together."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import carla
import numpy as np
from numpy.typing import NDArray

SensorData = dict[str, tuple[int, Any]]
"""``input_data`` of an agent: sensor id to (frame, payload)."""


class SensorConfigurationInvalid(Exception):
    """The sensors an agent asks for break the rules of its track."""


class SensorReceivedNoData(Exception):
    """The simulator did not deliver a sensor's data in time."""


class _Pixels:
    """The memory of a picture as numpy finds it; keeps the picture alive as long as an array shows it."""

    def __init__(self, image: carla.Image) -> None:
        self._image = image
        address, _ = np.frombuffer(image.raw_data, dtype=np.uint8).__array_interface__["data"]
        shape = image.height, image.width, 4
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": shape, "data": (address, False)}


def camera_payload(image: carla.Image) -> NDArray[np.uint8]:
    """(H, W, 4) BGRA picture: the client's own memory, which nobody else writes to, so an agent may paint on it."""
    return np.asarray(_Pixels(image))


def lidar_payload(measurement: carla.LidarMeasurement) -> NDArray[np.float32]:
    """(N, 4) points x, y, z, metres in the sensor frame, and intensity."""
    return np.frombuffer(measurement.raw_data, dtype=np.float32).reshape(-1, 4).copy()


def radar_payload(measurement: carla.RadarMeasurement) -> NDArray[np.float32]:
    """(N, 4) detections: depth in metres, altitude and azimuth in radians, radial velocity in m/s."""
    return np.frombuffer(measurement.raw_data, dtype=np.float32).reshape(-1, 4)[:, ::-1].copy()


def gnss_payload(measurement: carla.GnssMeasurement) -> NDArray[np.float64]:
    """(3,) latitude and longitude in degrees, altitude in metres."""
    return np.array([measurement.latitude, measurement.longitude, measurement.altitude], dtype=np.float64)


def imu_payload(measurement: carla.IMUMeasurement) -> NDArray[np.float64]:
    """(7,) acceleration in m/s², angular velocity in rad/s, compass in radians."""
    acceleration, gyroscope = measurement.accelerometer, measurement.gyroscope
    return np.array(
        [
            acceleration.x, acceleration.y, acceleration.z,
            gyroscope.x, gyroscope.y, gyroscope.z,
            measurement.compass,
        ],
        dtype=np.float64,
    )  # fmt: skip


PAYLOADS: tuple[tuple[type[carla.SensorData], Callable[[Any], Any]], ...] = (
    (carla.Image, camera_payload),
    (carla.LidarMeasurement, lidar_payload),
    (carla.RadarMeasurement, radar_payload),
    (carla.GnssMeasurement, gnss_payload),
    (carla.IMUMeasurement, imu_payload),
)


def payload(data: carla.SensorData) -> Any:
    """What an agent receives for one measurement.

    Raises:
        TypeError: If the measurement is of a kind that agents may not carry.
    """
    kind: Any = type(data)
    return _converter(kind)(data)


@cache
def _converter(kind: Any) -> Callable[[Any], Any]:
    for known, convert in PAYLOADS:
        if issubclass(kind, known):
            return convert
    raise TypeError(f"no agent sensor delivers {kind.__name__}")


class SensorInterface:
    """Collects measurements by frame. Client threads deliver, the tick loop waits and is woken once, when all are there.

    A sensor may measure on every n-th tick only. Its phase is that of its first measurement; on the other ticks nobody waits
    for it and its id is missing from the data.
    """

    def __init__(self, wait_s: float = 10.0):
        """Args: wait_s: Longest wait for the data of one tick, seconds of wall clock."""
        self.wait_s = wait_s
        self.waited_ms = 0.0
        """Wall time that the last `get_data` took, milliseconds."""
        self._tags: dict[str, Any] = {}
        self._periods: dict[str, int] = {}
        self._first_frames: dict[str, int] = {}
        self._arrival = threading.Condition()
        self._received: defaultdict[int, SensorData] = defaultdict(dict)
        self._awaited: int | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """Ids of the registered sensors in the order of registration."""
        return tuple(self._tags)

    def register_sensor(self, tag: str, sensor_type: str, sensor: Any, period_ticks: int = 1) -> None:
        """Announce a sensor.

        Args:
            tag: Its id.
            sensor_type: Its type, for messages.
            sensor: The actor, None for computed sensors.
            period_ticks: It measures on every n-th tick.

        Raises:
            SensorConfigurationInvalid: If the id is taken.
        """
        if tag in self._tags:
            raise SensorConfigurationInvalid(f"two sensors have the id {tag!r} (second: {sensor_type})")
        self._tags[tag] = sensor
        self._periods[tag] = period_ticks

    def update_sensor(self, tag: str, data: Any, frame: int) -> None:
        """Deliver one payload.

        Raises:
            SensorConfigurationInvalid: If the sensor was not registered.
        """
        if tag not in self._tags:
            raise SensorConfigurationInvalid(f"data came for sensor {tag!r}, which is not registered")
        with self._arrival:
            is_first = tag not in self._first_frames
            self._first_frames.setdefault(tag, frame)
            self._received[frame][tag] = (frame, data)
            if (frame == self._awaited or is_first) and self._is_complete():
                self._arrival.notify()

    def _due(self, frame: int) -> set[str]:
        """Sensors that measure in a frame; one that never delivered is due until its phase is known."""
        return {
            tag for tag, period in self._periods.items() if (frame - self._first_frames.get(tag, frame)) % period == 0
        }

    def _is_complete(self) -> bool:
        """Whether all data of the awaited frame are there."""
        frame = self._awaited
        return frame is not None and self._due(frame) <= self._received[frame].keys()

    def get_data(self, frame: int) -> SensorData:
        """Wait until every due sensor has delivered the data of ``frame``; data of earlier frames are dropped.

        Raises:
            SensorReceivedNoData: If that takes longer than ``wait_s``; the message names the missing sensors.
        """
        started = time.monotonic()
        with self._arrival:
            self._awaited = frame
            if not self._arrival.wait_for(self._is_complete, self.wait_s):
                missing = sorted(self._due(frame) - self._received[frame].keys())
                raise SensorReceivedNoData(
                    f"no data of frame {frame} from {', '.join(missing)} within {self.wait_s:g} s; is the simulator alive?"
                )
            self._awaited = None
            received = self._received.pop(frame, {})
            for earlier in [number for number in self._received if number < frame]:
                del self._received[earlier]
        self.waited_ms = (time.monotonic() - started) * 1e3
        return received


class CallBack:
    """The listener of one simulator sensor."""

    def __init__(self, tag: str, sensor_type: str, sensor: Any, interface: SensorInterface, period_ticks: int = 1):
        self._tag = tag
        self._interface = interface
        interface.register_sensor(tag, sensor_type, sensor, period_ticks)

    def __call__(self, data: carla.SensorData) -> None:
        """Convert a measurement and hand it over."""
        self._interface.update_sensor(self._tag, payload(data), data.frame)
