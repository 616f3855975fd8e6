"""The expert with a recorder: drives and writes the dataset.

Environment: ``SAVE_PATH`` is the folder that run folders go to (default `database/simlingo/data/simlingo`), ``TOWN`` and
``REPETITION`` name them, ``EXPERT_SEED`` draws the augmented camera. ``LIDAR_SWEEP`` is `half` (as published: every tick
gives half a revolution) or `full` (one revolution per recorded tick, for simulators that measure per tick). A run folder is
complete when it holds ``results.json.gz``; until then every file in it is whole, so a crash leaves a readable, unfinished
route. ``LIDAR_FILES=0`` keeps no LiDAR sweeps; boxes count their points all the same. ``SAVE_TF_LABELS=1`` adds pictures of
classes, depth and the road from above, see `team_code.recording.optional`.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import carla
import cv2
import numpy as np
from numpy.typing import NDArray

from driving.files import write_bytes, write_json, write_text
from driving.geometry import to_ego
from driving.records import Box, Measurement, RunFolder, frame_name, write_boxes, write_measurement
from leaderboard.envs.sensor_interface import SensorData
from srunner.scenariomanager.carla_data_provider import CarlaDataProvider
from team_code.autopilot import AutoPilot
from team_code.expert.driver import Decision
from team_code.expert.scene import Scene
from team_code.expert.signals import stop_waypoints, trigger_centre
from team_code.recording.boxes import BoxRecorder, FrameFacts, Governed
from team_code.recording.lanes import LaneBook
from team_code.recording.optional import BevPainter, depth_of, semantics_of, write_png
from team_code.recording.points import PointIndex, SweepJoiner, encode_laz, to_vehicle
from team_code.recording.writer import BackgroundWriter

STEPS_PER_FRAME = 5
CAMERA = {"width": 1024, "height": 512, "fov": 110}
CAMERA_POSITION = (-1.5, 0.0, 2.0)
LIDAR_POSITION = (0.0, 0.0, 2.5)
LIDAR_YAW_DEG = -90.0
MAX_SHIFT_M, MAX_TURN_DEG = 1.5, 20.0
LIDAR_OPTIONS = {
    "rotation_frequency": 10,
    "points_per_second": 600_000,
    "channels": 64,
    "range": 85,
    "upper_fov": 10,
    "lower_fov": -30,
    "atmosphere_attenuation_rate": 0.004,
    "dropoff_general_rate": 0.45,
    "dropoff_intensity_limit": 0.8,
    "dropoff_zero_intensity": 0.4,
}
FRAME_INTERVAL_S = 0.25
FULL_SWEEP = {"rotation_frequency": 20, "points_per_second": 1_200_000, "sensor_tick": FRAME_INTERVAL_S}
"""One whole revolution in the recorded tick: as many points as the two half revolutions of two ticks, and nothing is measured
in ticks that are not recorded."""
EXTRA_CAMERAS = {"semantics": "sensor.camera.semantic_segmentation", "depth": "sensor.camera.depth"}
"""Folder to the camera whose pictures it holds, recorded on request."""

MAX_WAITING_FRAMES = 16
"""Frames of about 5 MB that may wait for the disk."""

SAME_ENDS_M = 20.0
"""A plan begins and ends on lanes near the places of its route in the file, both distances together at most this."""
CUT_IN_TYPES = ("ParkingCutIn", "StaticCutIn", "HighwayCutIn")


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "DataAgent"


class DataAgent(AutoPilot):
    """Records four frames per second while the expert drives."""

    _is_recording = False

    def setup(self, path_to_conf_file: str, route_index: str | None = None, traffic_manager: Any = None) -> None:
        """See the base class. Makes the run folder.

        Raises:
            FileExistsError: If the run folder exists.
        """
        super().setup(path_to_conf_file, route_index, traffic_manager)
        self._driven = find_driven_route(path_to_conf_file, self.org_dense_route_world_coord, self.route_id)
        name = route_index or "route"
        if self._driven is not None:
            self.seed = route_seed(self.seed, self._driven)
            name = re.sub(r"_route\d+(?=(?:_\d+)*$)", f"_route{self._driven.index}", name)
        rng = np.random.default_rng(self.seed)
        self._shift_m = float(rng.uniform(-MAX_SHIFT_M, MAX_SHIFT_M))
        self._turn_deg = float(rng.uniform(-MAX_TURN_DEG, MAX_TURN_DEG))
        self._traffic_manager = traffic_manager
        self.run = run_folder(self._town(), name)
        self.run.path.mkdir(parents=True)
        self._full_sweep = os.environ.get("LIDAR_SWEEP", "half") == "full"
        self._keeps_lidar = os.environ.get("LIDAR_FILES", "1") == "1"
        self._joiner = SweepJoiner()
        self._boxes: BoxRecorder | None = None
        self._painter: BevPainter | None = None
        self._extra_pictures = os.environ.get("SAVE_TF_LABELS", "0") == "1"
        self._copy_route()
        self._writer = BackgroundWriter(max_waiting=MAX_WAITING_FRAMES)
        self._is_recording = True

    def sensors(self) -> list[dict[str, Any]]:
        """The expert's sensors, two cameras and the LiDAR."""
        x, y, z = CAMERA_POSITION
        plain = {"type": "sensor.camera.rgb", "x": x, "z": z, "roll": 0.0, "pitch": 0.0, **CAMERA}
        plain["sensor_tick"] = FRAME_INTERVAL_S
        cameras = [
            {**plain, "id": "rgb", "y": y, "yaw": 0.0},
            {**plain, "id": "rgb_augmented", "y": y + self._shift_m, "yaw": self._turn_deg},
        ]
        if self._extra_pictures:
            cameras += [
                {**camera, "type": kind, "id": str(camera["id"]).replace("rgb", name)}
                for name, kind in EXTRA_CAMERAS.items()
                for camera in cameras
            ]
        lx, ly, lz = LIDAR_POSITION
        lidar = {"type": "sensor.lidar.ray_cast", "id": "lidar", "x": lx, "y": ly, "z": lz, "roll": 0.0, "pitch": 0.0}
        return [
            *super().sensors(),
            *cameras,
            {**lidar, "yaw": LIDAR_YAW_DEG, **LIDAR_OPTIONS, **(FULL_SWEEP if self._full_sweep else {})},
        ]

    def on_decision(self, input_data: SensorData, scene: Scene, decision: Decision) -> None:
        """Write every fifth tick."""
        if self._full_sweep and self.step % STEPS_PER_FRAME:
            return
        points = to_vehicle(input_data["lidar"][1], LIDAR_POSITION, np.radians(LIDAR_YAW_DEG))
        if not self._full_sweep:
            points = self._joiner.join(points, scene.ego.xyz, scene.ego.yaw)
        if self.step % STEPS_PER_FRAME:
            return
        frame = self.step // STEPS_PER_FRAME
        boxes = self._box_recorder().record(CarlaDataProvider.get_all_actors(), self._facts(points, decision))
        measurement = measurement_of(scene, decision, self._shift_m, self._turn_deg, self._ego_matrix())
        run = self.run
        jobs = [
            partial(write_measurement, run.measurement_path(frame), measurement),
            partial(write_boxes, run.boxes_path(frame), boxes),
            partial(write_jpeg, run.rgb_path(frame), input_data["rgb"][1]),
            partial(write_jpeg, run.rgb_augmented_path(frame), input_data["rgb_augmented"][1]),
        ]
        if self._keeps_lidar:
            jobs.append(partial(write_laz, run.lidar_path(frame), points))
        if self._extra_pictures:
            jobs += self._extra_picture_jobs(frame, input_data, scene, boxes)
        self._writer.submit(partial(_do_all, jobs))

    def destroy(self, results: Any = None) -> None:
        """Wait for the files and write the result of the route; after a setup that failed there is nothing to write.

        Raises:
            OSError: If frames could not be written. The run then has no result: it is not whole.
        """
        if not self._is_recording:
            super().destroy(results)
            return
        try:
            self._writer.close()
            if results is not None:
                write_json(self.run.records_path, empty_log(self._town(), self.route_index), indent=None)
                write_json(self.run.results_path, _plain(results), indent=2)
        finally:
            super().destroy(results)

    def _extra_picture_jobs(
        self, frame: int, input_data: SensorData, scene: Scene, boxes: Sequence[Box]
    ) -> list[partial[None]]:
        jobs = []
        if self._painter is None:
            self._painter = BevPainter(CarlaDataProvider.get_map())
        for ending, shift_m, turn_deg in (("", 0.0, 0.0), ("_augmented", self._shift_m, self._turn_deg)):
            seen = self._painter.paint(scene.ego.xyz[:2], scene.ego.yaw, boxes, shift_m, turn_deg)
            pictures = {
                f"semantics{ending}": semantics_of(input_data[f"semantics{ending}"][1]),
                f"depth{ending}": depth_of(input_data[f"depth{ending}"][1]),
                f"bev_semantics{ending}": seen,
            }
            for name, picture in pictures.items():
                jobs.append(partial(write_png, self.run.path / name / f"{frame_name(frame)}.png", picture))
        return jobs

    # ---- parts ------------------------------------------------------------------------------------------------

    def _town(self) -> str:
        return str(CarlaDataProvider.get_map().name).split("/")[-1] if CarlaDataProvider.get_world() else ""

    def _ego_matrix(self) -> list[list[float]]:
        ego = CarlaDataProvider.get_hero_actor()
        assert ego is not None  # the scene was read from it in this very tick
        return ego.get_transform().get_matrix()

    def _box_recorder(self) -> BoxRecorder:
        if self._boxes is None:
            world = CarlaDataProvider.get_world()
            book = LaneBook(CarlaDataProvider.get_map())
            assert self._reader is not None
            lights = [
                Governed(light, trigger_centre(light), [w.transform.location for w in stop_waypoints(light, book.map)])
                for light in self._reader.lights
            ]
            signs = [Governed(s, trigger_centre(s), [trigger_centre(s)]) for s in world.get_actors().filter("*stop*")]
            ego = CarlaDataProvider.get_hero_actor()
            self._boxes = BoxRecorder(
                world, ego, book, CarlaDataProvider.state().extent, lights, signs, self._next_action
            )
        return self._boxes

    def _next_action(self, vehicle: carla.Vehicle) -> str | None:
        """What the traffic manager will do with a vehicle; None for vehicles it does not drive."""
        if self._traffic_manager is None or vehicle.attributes.get("role_name") != "background":
            return None
        try:
            return str(self._traffic_manager.get_next_action(vehicle)[0])
        except (IndexError, RuntimeError):
            return None

    def _facts(self, points: NDArray[np.float64], decision: Decision) -> FrameFacts:
        infos = CarlaDataProvider.get_scenario_infos()
        cutting = (info.first_actor for info in infos if info.type in CUT_IN_TYPES and info.first_actor is not None)
        return FrameFacts(
            points=PointIndex(points),
            light_id=decision.position.light_id,
            stop_id=decision.position.stop_id,
            stop_cleared=decision.stop_cleared,
            scenario=self._scenario,
            cutting_in=frozenset(
                actor.id for actor in cutting if actor.is_alive and actor.get_velocity().length() > 1.0
            ),
            weather=CarlaDataProvider.get_weather(),
        )

    def _copy_route(self) -> None:
        """Keep the driven route beside the data, with what is needed to record it again."""
        self._scenario = self.run.path.parent.name
        if self._driven is not None:
            names = [scenario.get("type", "") for scenario in self._driven.element.iter("scenario")]
            self._scenario = names[0] if names else "noScenario"
            document = ElementTree.Element("routes")
            document.append(self._driven.element)
            write_text(self.run.route_path, ElementTree.tostring(document, encoding="unicode"))
        write_json(
            self.run.settings_path,
            {
                "profile": self.config.profile,
                "seed": self.seed,
                "augmentation_translation": self._shift_m,
                "augmentation_rotation": self._turn_deg,
                "carla": version("carla"),
                "simlingo": version("simlingo"),
                "sensors": self.sensors(),
                "lidar_files": self._keeps_lidar,
            },
        )


@dataclass(frozen=True)
class DrivenRoute:
    """The entry of a route file that is being driven: its place in the file, its id, and the element itself."""

    index: int
    route_id: str
    file: Path
    element: ElementTree.Element


def find_driven_route(
    path: str, plan: Sequence[tuple[carla.Transform, Any]], route_id: str | None = None
) -> DrivenRoute | None:
    """The route of a file that a plan leads along: the one of that id if its ends fit, else the one whose ends fit best.

    Other evaluators than ours hand over a plan and the file, but not which of the file's routes they drive; of several
    routes with the same ends the first is taken then. None if ``path`` is no route file.
    """
    file = Path(path)
    if file.suffix != ".xml" or not file.is_file() or not plan:
        return None
    ends = [[p.x, p.y] for p in (plan[0][0].location, plan[-1][0].location)]
    best: tuple[tuple[bool, float], DrivenRoute] | None = None
    for index, element in enumerate(ElementTree.parse(file).getroot().iter("route")):
        places = [[float(p.get("x", 0)), float(p.get("y", 0))] for p in element.iter("position")]
        if not places:
            continue
        driven = DrivenRoute(index, element.get("id", str(index)), file, element)
        gap = float(np.linalg.norm(np.array([places[0], places[-1]]) - ends, axis=1).sum())
        rank = (driven.route_id != route_id or gap > SAME_ENDS_M, gap)
        if best is None or rank < best[0]:
            best = (rank, driven)
    return best[1] if best else None


def route_seed(seed: int, route: DrivenRoute) -> int:
    """A seed of its own for every route of a run: equal seeds and routes give equal drives."""
    return zlib.crc32(f"{seed}:{route.file.stem}:{route.route_id}".encode())


def run_folder(town: str, route_name: str) -> RunFolder:
    """Folder of a run, from the environment, the town and the evaluator's name of the route.

    Folder names begin with ``Town``, which is what loaders of the published dataset look for.

    Raises:
        ValueError: If ``SAVE_PATH`` does not lie below a folder named ``data``.
    """
    save = Path(os.environ.get("SAVE_PATH", "database/simlingo/data/simlingo")).absolute()
    if "data" not in save.parts:
        raise ValueError(
            f"SAVE_PATH must lie below a dataset's data folder, such as database/simlingo/data; got {save}"
        )
    cut = max(i for i, part in enumerate(save.parts) if part == "data")
    root = Path(*save.parts[:cut])
    town = os.environ.get("TOWN", town)
    prefix = town if town.startswith("Town") else f"Town{town}"
    name = f"{prefix}_Rep{os.environ.get('REPETITION', '0')}_{route_name}"
    return RunFolder(root, Path(*save.parts[cut + 1 :], name))


def measurement_of(
    scene: Scene, decision: Decision, shift_m: float, turn_deg: float, ego_matrix: list[list[float]]
) -> Measurement:
    """The measurement record of a decision; places are turned into the ego frame here."""
    ego, hazards, cause = scene.ego, decision.hazards, decision.cause
    here, heading = ego.xyz[:2], ego.yaw
    has_object = cause.type_id is not None
    navigation = decision.navigation
    return Measurement(
        pos_global=here.tolist(),
        theta=heading,
        speed=ego.speed,
        target_speed=decision.target_speed,
        speed_limit=decision.position.speed_limit,
        target_point=to_ego(navigation.target, here, heading).tolist(),
        target_point_next=to_ego(navigation.next_target, here, heading).tolist(),
        command=navigation.command,
        next_command=navigation.next_command,
        aim_wp=to_ego(decision.aim, here, heading).tolist(),
        route=to_ego(decision.route, here, heading).tolist(),
        route_original=to_ego(decision.route_original, here, heading).tolist(),
        changed_route=decision.changed_route,
        speed_reduced_by_obj_type=cause.type_id,
        speed_reduced_by_obj_id=cause.actor_id if has_object else None,
        speed_reduced_by_obj_distance=cause.distance if has_object else None,
        steer=decision.steer,
        throttle=decision.throttle,
        brake=decision.brake,
        control_brake=decision.control_brake,
        junction=decision.junction,
        vehicle_hazard=hazards.vehicle,
        vehicle_affecting_id=hazards.vehicle_id,
        light_hazard=hazards.light,
        walker_hazard=hazards.walker,
        walker_affecting_id=hazards.walker_id,
        stop_sign_hazard=hazards.stop_sign,
        stop_sign_close=hazards.stop_sign,
        walker_close=hazards.walker,
        walker_close_id=hazards.walker_id,
        angle=decision.angle,
        augmentation_translation=shift_m,
        augmentation_rotation=turn_deg,
        ego_matrix=ego_matrix,
        extra={
            "decision_rule": cause.rule,
            "keep_driving": decision.keep_driving,
            "is_unblocking": decision.is_unblocking,
            "applied_steer": decision.applied.steer,
            "applied_throttle": decision.applied.throttle,
            "applied_brake": decision.applied.brake,
        },
    )


def _do_all(jobs: Sequence[Callable[[], None]]) -> None:
    """The files of a frame are one job: every job wakes a thread, which costs as much as writing a small file."""
    for job in jobs:
        job()


def write_jpeg(path: Path, bgra: NDArray[np.uint8]) -> None:
    """Write a camera picture (H, W, 4) as JPEG of OpenCV's default quality, atomically.

    Raises:
        OSError: If it cannot be encoded or written.
    """
    good, content = cv2.imencode(".jpg", bgra)  # the encoder skips the fourth channel itself
    if not good:
        raise OSError(f"{path}: the camera picture of shape {bgra.shape} could not be encoded as JPEG")
    write_bytes(path, content.data)


def write_laz(path: Path, points: NDArray[np.float64]) -> None:
    """Write points (N, 3) as LAZ, atomically."""
    write_bytes(path, encode_laz(points))


def empty_log(town: str, index: Any) -> dict[str, Any]:
    """Content of ``records.json.gz``: the published recorder writes it without entries."""
    lists = ("states", "lights", "route", "ego_actions", "adv_actions")
    return {"meta_data": {"index": index, "town": town}, **{name: [] for name in lists}}


def _plain(results: Any) -> dict[str, Any]:
    return dict(results) if isinstance(results, dict) else dict(vars(results))
