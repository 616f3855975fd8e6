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
from team_code.drive_log import TICKS_PER_SECOND, DriveFrame, read_drive_log
from team_code.evaluation.config import REPOSITORY
from team_code.evaluation.summary import INFRACTION_NAMES, RouteRow, Table, compare
from team_code.prompting import spoken
from team_code.report import figures, video

TEMPLATES = Path(__file__).parent


@dataclass
class RoutePage:
    """What the page of one route shows.

    Attributes:
        row: Its row of the table.
        anchor: Name of its folder below ``report/``.
        map, motion, latencies, video: Files in that folder, empty where there is nothing to show.
        quotes: (game time s, speed km/h, sentence, instruction) whenever what was said changed.
        note: Why something is missing, or empty.
    """

    row: RouteRow
    anchor: str
    map: str = ""
    motion: str = ""
    latencies: str = ""
    video: str = ""
    quotes: list[tuple[float, float, str, str]] = field(default_factory=list)
    note: str = ""


def write_report(
    out: Path,
    table: Table,
    manifest: dict[str, Any],
    videos: bool = True,
    other: Table | None = None,
    other_name: str = "",
) -> Path:
    """Write ``report.html``, a page per route and the files they show into ``out``; returns the main page's path.

    Args:
        out: Output folder of the evaluation.
        table: Its result.
        manifest: Its manifest.
        videos: Whether to encode videos.
        other: Result of another run to set beside this one.
        other_name: Where that run lies.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    agent = Path(manifest["config"]["agent"]).stem
    common = {"manifest": manifest, "agent": agent, "infraction_names": INFRACTION_NAMES}
    template = environment.get_template("route.html.j2")
    pages = []
    for row in tqdm(table.rows, desc="report", unit="route"):
        page = make_route_page(out, row, videos)
        write_text(out / "report" / page.anchor / "index.html", template.render(page=page, **common))
        pages.append(page)
    stages = table.stages()
    if stages:
        figures.draw_latencies(out / "report" / "latencies.png", stages)
    html = environment.get_template("report.html.j2").render(
        table=table,
        pages=pages,
        groups=by_scenario(table.rows),
        compared=compare(table, other) if other else None,
        other=other,
        other_name=other_name,
        infractions=count_infractions(table.rows),
        stages=stages,
        **common,
    )
    path = out / "report.html"
    write_text(path, html)
    return path


def make_route_page(out: Path, row: RouteRow, videos: bool) -> RoutePage:
    """Draw what there is to draw for one route."""
    page = RoutePage(row, row.task.key.replace("/", "-"))
    folder = out / "report" / page.anchor
    if row.record is None or not row.result.job:
        page.note = "There is no record of this drive."
        return page
    job = out / "jobs" / row.result.job
    run_id = row.record["route_id"]
    _draw_trace(page, folder, results_path(job).with_name("results_trace") / f"{run_id}.json", row.task.town)
    if row.stage_ms:
        page.latencies = "latencies.png"
        figures.draw_latencies(folder / page.latencies, row.stage_ms)
    log = next(iter(sorted((job / "drive").glob(f"{run_id}*/drive.jsonl"))), None)
    if log is not None:
        _draw_log(page, folder, log.parent, videos)
    return page


def _draw_trace(page: RoutePage, folder: Path, path: Path, town: str) -> None:
    if not path.exists():
        page.note = "No trace of this drive was written."
        return
    trace = figures.Trace.read(path)
    xodr = REPOSITORY / "data" / "towns" / f"{town.rsplit('/', 1)[-1]}.xodr"
    page.map, page.motion = "map.png", "motion.png"
    figures.draw_map(folder / page.map, trace, xodr if xodr.exists() else None)
    figures.draw_motion(folder / page.motion, trace)


def _draw_log(page: RoutePage, folder: Path, drive: Path, videos: bool) -> None:
    frames = list(read_drive_log(drive))
    page.quotes = quotes(frames)
    if videos and video.write_video(folder / "drive.mp4", video.pictures(drive, frames), video.picture_rate(frames)):
        page.video = "drive.mp4"


def quotes(frames: Sequence[DriveFrame], most: int = 40) -> list[tuple[float, float, str, str]]:
    """(game time s, speed km/h, sentence, instruction) at every change of what was said, the first ``most``."""
    said: list[tuple[float, float, str, str]] = []
    for frame in frames:
        sentence = spoken(frame.text)
        if sentence and (not said or said[-1][2:] != (sentence, frame.instruction)):
            said.append((frame.step / TICKS_PER_SECOND, frame.speed * 3.6, sentence, frame.instruction))
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
    """(kind, number) over all routes with a verdict, kinds that occurred, most frequent first."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        for kind, _ in row.infractions() if row.result.outcome.is_verdict else ():
            counts[kind] += 1
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
