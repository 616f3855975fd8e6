"""Collection on the embedded server, and everything that is done to its result: index, verify, clean, view, count."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_generation import benchmark, clean, collect, index, statistics, verify, viewer
from dataset_generation.language_labels.synthetic import write_route
from dataset_generation.runs import judge, same_drive, superseded
from driving.records import RunFolder, find_runs, read_boxes, read_measurement

PLACES = [(205.0 - 8 * i, -1.75) for i in range(7)]
ROUTE = """<routes><route id="{id}" town="Mini01">
<weathers><weather route_percentage="0" cloudiness="10" sun_altitude_angle="60"/></weathers>
<waypoints>{places}</waypoints><scenarios/></route></routes>"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two short plain routes, collected by the command a user types."""
    folder = tmp_path_factory.mktemp("collection")
    places = "".join(f'<position x="{x}" y="{y}" z="0"/>' for x, y in PLACES)
    for name in ("7", "8"):
        (folder / f"r{name}.xml").write_text(ROUTE.format(id=name, places=places))
    command = [
        sys.executable,
        "-m",
        "dataset_generation.collect",
        "--jobs",
        "2",
        "--no-traffic",
        "--out",
        str(folder / "set"),
    ]
    done = subprocess.run(
        [*command, "--routes", str(folder / "r7.xml"), str(folder / "r8.xml")],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, command, done.stdout


@pytest.fixture(scope="module")
def run(dataset):
    return find_runs(dataset[0] / "set")[0]


def test_every_route_gives_one_finished_run_in_the_published_layout(dataset):
    runs = find_runs(dataset[0] / "set")
    assert [r.relative.parts[:4] for r in runs] == [("simlingo", f"r{n}", "routes_training", "default") for n in "78"]
    assert all(r.name.startswith(f"TownMini01_Rep0_r{n}_route0_") for r, n in zip(runs, "78"))
    assert all(judge(r).is_usable for r in runs)
    assert "finished" in dataset[2]


def test_frames_are_complete_and_verify_clean(dataset, run):
    reports = verify.verify(dataset[0] / "set", jobs=1, quick=False, show_progress=False)
    assert [report.faults for report in reports] == [(), ()]
    assert run.frames() == list(range(len(run.frames())))
    assert len(run.frames()) > 15


def test_measurements_have_the_published_keys_first(run):
    values = json.loads(gzip.decompress(run.measurement_path(5).read_bytes()))
    keys = list(values)
    assert keys[:4] == ["pos_global", "theta", "speed", "target_speed"]
    assert keys[33] == "ego_matrix"
    assert {"decision_rule", "applied_throttle"} <= set(keys[34:])
    assert len(values["route"]) == 40
    assert values["route"][0][0] == pytest.approx(2.5, abs=0.12)


def test_the_recorded_motion_is_the_recorded_speed(run):
    measurements = [read_measurement(run.measurement_path(frame)) for frame in run.frames()]
    places = np.array([m.ego_matrix for m in measurements])[:, :2, 3]
    driven = np.linalg.norm(np.diff(places, axis=0), axis=1) / 0.25
    mean_speed = np.convolve([m.speed for m in measurements], [0.5, 0.5], "valid")
    np.testing.assert_allclose(driven[4:], mean_speed[4:], atol=1.0)
    assert max(m.speed for m in measurements) > 5.0


def test_boxes_start_with_the_ego_and_end_with_what_is_around_it(run):
    boxes = read_boxes(run.boxes_path(3))
    assert [boxes[0].box_class, boxes[-2].box_class, boxes[-1].box_class] == ["ego_car", "weather", "ego_info"]


def test_equal_routes_with_other_ids_get_other_cameras(dataset):
    shifts = {read_measurement(r.measurement_path(0)).augmentation_rotation for r in find_runs(dataset[0] / "set")}
    assert len(shifts) == 2
    assert all(abs(shift) <= 20 for shift in shifts)


def test_running_again_drives_nothing(dataset):
    folder, command, _ = dataset
    before = [r.name for r in find_runs(folder / "set")]
    again = subprocess.run(
        [*command, "--routes", str(folder / "r7.xml"), str(folder / "r8.xml")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 0
    assert [r.name for r in find_runs(folder / "set")] == before


@pytest.fixture
def copy(dataset, tmp_path):
    """A dataset of its own for tests that break things."""
    root = tmp_path / "copy"
    shutil.copytree(dataset[0] / "set" / "data", root / "data")
    return root


def test_the_index_agrees_with_the_files_and_grows(copy):
    path, skipped, fresh = index.build_index(copy, jobs=1, show_progress=False)
    table = pd.read_parquet(path)
    runs = find_runs(copy)
    assert (fresh, not skipped, len(table)) == (2, True, sum(len(r.frames()) for r in runs))
    row = table[(table["run"] == runs[1].key) & (table["frame"] == 6)].iloc[0]
    m = read_measurement(runs[1].measurement_path(6))
    assert row["speed"] == pytest.approx(m.speed)
    later = np.array(read_measurement(runs[1].measurement_path(8)).ego_matrix)[:3, 3] - np.array(m.ego_matrix)[:3, 3]
    np.testing.assert_allclose(
        np.reshape(row["waypoints"], (10, 2))[1], (later @ np.array(m.ego_matrix)[:3, :3])[:2], atol=1e-4
    )
    shutil.rmtree(runs[0].path)
    assert index.build_index(copy, jobs=1, show_progress=False)[2] == 0
    assert set(pd.read_parquet(path)["run"].astype(str)) == {runs[1].key}


def test_an_index_of_many_row_groups_is_extended_in_order(tmp_path):
    frames = benchmark.made_up_index(tmp_path, 70_000)  # more than the 65,536 rows of a group
    write_route(tmp_path, 1, 12, 0)
    path, _, fresh = index.build_index(tmp_path, jobs=1, show_progress=False)
    table = pd.read_parquet(path, columns=["run", "frame"])
    assert (fresh, len(table)) == (1, frames + 12)
    keys = table["run"].astype(str) + table["frame"].map("{:06d}".format)
    assert keys.is_monotonic_increasing


BREAKAGES = {
    "rgb/0004.jpg": lambda path: path.write_bytes(path.read_bytes()[:-400]),
    "measurements/0005.json.gz": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "boxes/0006.json.gz": lambda path: path.write_bytes(gzip.compress(b'[{"class": "spaceship"}]')),
    "lidar/0007.laz": lambda path: path.write_bytes(b"not a point"),
    "rgb_augmented/0008.jpg": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_verify_names_every_broken_file(copy, name):
    target = find_runs(copy)[0].path / name
    BREAKAGES[name](target)
    report = verify.verify_run(find_runs(copy)[0])
    assert [fault.path for fault in report.faults] == [target]


def test_verify_asks_for_lidar_unless_the_run_says_that_it_keeps_none(copy):
    run = find_runs(copy)[0]
    shutil.rmtree(run.path / "lidar")
    assert {fault.path.parent.name for fault in verify.verify_run(run).faults} >= {"lidar"}
    says = json.loads(run.settings_path.read_text())
    run.settings_path.write_text(json.dumps({**says, "lidar_files": False}))
    assert verify.verify_run(run).faults == ()
    run.settings_path.write_text("{")
    assert run.settings_path in [fault.path for fault in verify.verify_run(run).faults]


def test_an_unreadable_measurement_is_counted_and_skipped_by_the_index(copy):
    """Waypoints keep their times: that of the missing frame repeats the one before it."""
    run = find_runs(copy)[0]
    path = run.measurement_path(5)
    path.write_bytes(path.read_bytes()[:50])
    path, skipped, _ = index.build_index(copy, jobs=1, show_progress=False)
    assert skipped == {"unreadable measurement": 1}
    table = pd.read_parquet(path)
    row = table[(table["run"] == run.key) & (table["frame"] == 3)].iloc[0]
    poses = [np.array(read_measurement(run.measurement_path(frame)).ego_matrix) for frame in (3, 4, 4, 6)]
    expected = [((pose[:3, 3] - poses[0][:3, 3]) @ poses[0][:3, :3])[:2] for pose in poses[1:]]
    np.testing.assert_allclose(np.reshape(row["waypoints"], (10, 2))[:3], expected, atol=1e-4)


def test_a_broken_copy_of_the_route_costs_the_index_only_scenario_and_weather(copy):
    good, broken = find_runs(copy)
    broken.route_path.write_text("<routes><route")
    path, skipped, _ = index.build_index(copy, jobs=1, show_progress=False)
    table = pd.read_parquet(path)
    assert skipped == {"unreadable route.xml; scenario and weather": 1}
    rows = {run: table[table["run"] == run.key] for run in (good, broken)}
    assert rows[broken]["weather_cloudiness"].isna().all()
    assert set(rows[good]["weather_cloudiness"]) == {10.0}
    assert set(rows[broken]["town"]) == {"Mini01"}
    assert len(rows[broken]) == len(broken.frames())


def test_clean_moves_failed_and_worse_runs_aside_and_back(copy, capsys):
    good, other = find_runs(copy)
    again = RunFolder(good.root, good.relative.with_name(good.name[:-14] + "12_31_23_59_60"))
    shutil.copytree(good.path, again.path)
    values = json.loads(gzip.decompress(other.results_path.read_bytes()))
    values["scores"] |= {"score_route": 50.0, "score_composed": 50.0}
    other.results_path.write_bytes(gzip.compress(json.dumps(values).encode()))
    assert clean.main(["--data", str(copy)]) == 0
    assert len(find_runs(copy)) == 3
    assert clean.main(["--data", str(copy), "--move"]) == 0
    assert [r.name for r in find_runs(copy)] == [again.name]
    assert "50 % is not above 94 %" in capsys.readouterr().out
    assert clean.main(["--data", str(copy), "--restore"]) == 0
    assert len(find_runs(copy)) == 3


def test_a_good_old_run_beats_a_bad_new_one(copy):
    good = find_runs(copy)[0]
    newer = RunFolder(good.root, good.relative.with_name(good.name[:-14] + "12_31_23_59_60"))
    shutil.copytree(good.path, newer.path)
    newer.results_path.unlink()
    assert same_drive(good) == same_drive(newer)
    assert superseded([judge(newer), judge(good)]) == {newer: good}


def test_statistics_find_the_drive_plausible(copy):
    path, _, _ = index.build_index(copy, jobs=1, show_progress=False)
    summary = statistics.summarise(pd.read_parquet(path))
    assert summary["by_town"]["Mini01"]["runs"] == 2
    assert all(row["share_beyond"] < 0.05 for row in summary["plausibility"])


def test_statistics_notice_a_car_that_jumps():
    frames = pd.DataFrame(
        {"run": "a", "frame": range(6), "speed": [0, 0, 20, 20, 20, 20], "theta": [0, 0, 0, 0, 2.0, 2.0]}
    )
    shares = {row["quantity"]: row["share_beyond"] for row in statistics.plausibility(frames)}
    assert shares["acceleration"] == pytest.approx(0.2)
    assert shares["yaw_rate"] == pytest.approx(0.2)


def test_the_viewer_shows_every_frame(copy, tmp_path):
    run = find_runs(copy)[0]
    views = list(viewer.read_views(run))
    image = np.zeros((512, 1024, 3), dtype=np.uint8)
    picture = viewer.compose(image, views[6])
    assert picture.shape == (512 + viewer.TEXT_HEIGHT_PX, 1024 + viewer.TOP_VIEW_PX, 3)
    green = np.all(picture[:512, :1024] == viewer.STYLES["route"].colour, axis=-1)
    assert green.any()
    assert abs(np.argwhere(green)[:, 1].mean() - 512) < 40
    viewer.write_page(run, tmp_path / "page.html", show_progress=False)
    assert "data:video/mp4;base64," in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no route file"),
        ("<routes><route", "not well-formed"),
        ("<routes/>", "expected <route"),
        ('<routes><route id="1"/></routes>', "1 of 1 lack one"),
        (
            f"<routes>{2 * ROUTE.format(id='1', places='')[8:-9]}</routes>",
            "rep0/routes/routes_training/default/routes/1",
        ),
    ],
)
def test_collect_refuses_bad_route_files(tmp_path, capsys, content, message):
    path = tmp_path / "routes.xml"
    if content is not None:
        path.write_text(content)
    assert collect.main(["--routes", str(path), "--out", str(tmp_path / "set")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--jobs", "0"), "at least 1, got '0'"),
        (("--profile", "simlinga"), "invalid choice: 'simlinga'"),
        (("--simulator", "carla"), "CARLA_ROOT"),
        (("--executor", "slurm", "--slurm", "gpu"), "name=value"),
    ],
)
def test_collect_refuses_what_cannot_work_before_it_starts_anything(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.delenv("CARLA_ROOT", raising=False)
    monkeypatch.setattr(collect.Fleet, "run", lambda *_: pytest.fail("it started"))
    path = tmp_path / "routes.xml"
    path.write_text(ROUTE.format(id="1", places=""))
    try:
        status = collect.main(["--routes", str(path), "--out", str(tmp_path / "set"), *options])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--seed", "5"), ("--profile", "simlingo"), ("--no-traffic",)])
def test_drives_with_other_options_do_not_pass_for_those_asked_for(tmp_path, capsys, monkeypatch, option):
    monkeypatch.setattr(collect.Fleet, "run", lambda *_: [])
    for name in "12":
        (tmp_path / f"{name}.xml").write_text(ROUTE.format(id=name, places=""))

    def run(name, *options):
        return collect.main(["--routes", str(tmp_path / f"{name}.xml"), "--out", str(tmp_path / "set"), *options])

    assert run("1") == run("1", "--repetitions", "2", "--no-lidar") == 0
    assert run("1", *option) == 2
    assert f"with another {option[0]} (then" in capsys.readouterr().err
    assert run("2", *option) == 0, "other route files may be driven otherwise"
    assert run("1") == 0


def test_an_unwritable_folder_is_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "routes.xml"
    path.write_text(ROUTE.format(id="1", places=""))
    assert collect.main(["--routes", str(path), "--out", str(path / "set")]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_files_in_set_folders_keep_their_place(tmp_path):
    path = tmp_path / "data" / "simlingo" / "training_1" / "routes_validation" / "seed_1" / "12.xml"
    path.parent.mkdir(parents=True)
    path.write_text(ROUTE.format(id="3", places=""))
    found = collect.find_route_files([tmp_path], "routes_training")
    assert found[0].folder == Path("training_1/routes_validation/seed_1")
