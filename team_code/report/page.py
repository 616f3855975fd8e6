"""Builds ``report.html`` of an evaluation from its output folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from tqdm import tqdm

from driving.files import write_text
from jobs.fleet import results_path
from jobs.results import Outcome
from team_code.drive_log import DriveFrame, read_drive_log
from team_code.evaluation.config import REPOSITORY
from team_code.evaluation.summary import INFRACTION_NAMES, RouteRow, Table
from team_code.prompting import spoken
from team_code.report import figures, video

TEMPLATE = Path(__file__).with_name("report.html.j2")
IMAGES_PER_SECOND = 4


@dataclass
class RoutePage:
    """What the page shows of one route.

    Attributes:
        row: Its row of the table.
        anchor: Name for links within the page.
        map, motion, latencies, video: Files relative to the page, empty where there is nothing to show.
        quotes: (game time, speed, sentence) whenever the commentary changed.
        note: Why something is missing, or empty.
    """

    row: RouteRow
    anchor: str
    map: str = ""
    motion: str = ""
    latencies: str = ""
    video: str = ""
    quotes: list[tuple[float, float, str]] = field(default_factory=list)
    note: str = ""


def write_report(
    out: Path, table: Table, manifest: dict[str, Any], videos: bool = True, compare: Table | None = None
) -> Path:
    """Write ``report.html`` and the files it shows into ``out``; returns the page's path.

    Args:
        out: Output folder of the evaluation.
        table: Its result.
        manifest: Its manifest.
        videos: Whether to encode videos.
        compare: Result of another run to set beside this one.
    """
    pages = [make_route_page(out, row, videos) for row in tqdm(table.rows, desc="report", unit="route")]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template(TEMPLATE.name).render(
        table=table,
        manifest=manifest,
        pages=pages,
        groups=by_scenario(table.rows),
        compared=compare_rows(table, compare) if compare else [],
        compare=compare,
        infraction_names=INFRACTION_NAMES,
        infractions=count_infractions(table.rows),
        outcome=Outcome,
    )
    path = out / "report.html"
    write_text(path, html)
    return path


def make_route_page(out: Path, row: RouteRow, videos: bool) -> RoutePage:
    """Draw what there is to draw for one route."""
    anchor = row.task.key.replace("/", "-")
    page = RoutePage(row, anchor)
    folder = out / "report" / anchor
    if row.record is None or not row.result.job:
        page.note = f"No record: {row.result.reason}"
        return page
    job = out / "jobs" / row.result.job
    run_id = row.record["route_id"]
    _draw_trace(page, out, folder, results_path(job).with_name("results_trace") / f"{run_id}.json", row.task.town)
    log = next(iter(sorted((job / "drive").glob(f"{run_id}*/drive.jsonl"))), None)
    if log is not None:
        _draw_log(page, out, folder, log.parent, videos)
    return page


def _draw_trace(page: RoutePage, out: Path, folder: Path, path: Path, town: str) -> None:
    if not path.exists():
        page.note = "No trace of this drive was written."
        return
    trace = figures.Trace.read(path)
    xodr = REPOSITORY / "data" / "towns" / f"{town.rsplit('/', 1)[-1]}.xodr"
    figures.draw_map(folder / "map.png", trace, xodr if xodr.exists() else None)
    figures.draw_motion(folder / "motion.png", trace)
    page.map = str((folder / "map.png").relative_to(out))
    page.motion = str((folder / "motion.png").relative_to(out))


def _draw_log(page: RoutePage, out: Path, folder: Path, drive: Path, videos: bool) -> None:
    frames = list(read_drive_log(drive))
    stages = stage_times(frames)
    if stages:
        figures.draw_latencies(folder / "latencies.png", stages)
        page.latencies = str((folder / "latencies.png").relative_to(out))
    page.quotes = quotes(frames)
    target = folder / "drive.mp4"
    if videos and video.write_video(target, video.pictures(drive, frames), IMAGES_PER_SECOND):
        page.video = str(target.relative_to(out))


def stage_times(frames: Sequence[DriveFrame]) -> dict[str, list[float]]:
    """Stage name to milliseconds per tick, stages in the order of the tick."""
    stages: dict[str, list[float]] = defaultdict(list)
    for frame in frames:
        for name, value in frame.stage_ms.items():
            stages[name].append(value)
    return dict(stages)


def quotes(frames: Sequence[DriveFrame], most: int = 40) -> list[tuple[float, float, str]]:
    """(game time s, speed km/h, sentence) at every change of the commentary, the first ``most``."""
    said: list[tuple[float, float, str]] = []
    for frame in frames:
        sentence = spoken(frame.text)
        if sentence and (not said or said[-1][2] != sentence):
            said.append((frame.step / 20, frame.speed * 3.6, sentence))
    return said[:most]


def by_scenario(rows: Sequence[RouteRow]) -> list[dict[str, Any]]:
    """Scores per scenario type, worst first."""
    groups: dict[str, list[RouteRow]] = defaultdict(list)
    for row in rows:
        groups[row.scenario].append(row)
    lines = [
        {
            "name": name,
            "routes": len(members),
            "score": float(np.mean([row.score for row in members])),
            "success": 100.0 * float(np.mean([row.success for row in members])),
        }
        for name, members in groups.items()
    ]
    return sorted(lines, key=lambda line: (line["score"], line["name"]))


def count_infractions(rows: Sequence[RouteRow]) -> list[tuple[str, int]]:
    """(kind, number) over all routes, kinds that occurred, most frequent first."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        for kind, _ in row.infractions():
            counts[kind] += 1
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def compare_rows(table: Table, other: Table) -> list[dict[str, Any]]:
    """Routes that both runs hold, with both scores, the largest loss first."""
    theirs = {row.task.key: row for row in other.rows}
    lines = [
        {"key": row.task.key, "score": row.score, "other": theirs[row.task.key].score}
        for row in table.rows
        if row.task.key in theirs
    ]
    return sorted(lines, key=lambda line: line["score"] - line["other"])
