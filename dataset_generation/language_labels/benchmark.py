"""How fast labels are made: ``python -m dataset_generation.language_labels.benchmark``.

Reading and writing compressed files and building sentences take about equal shares; nothing is computed twice and every file
is read once. Prints one line for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import PROFILES, profile_named
from dataset_generation.language_labels.runner import LabelOptions, label_dataset
from dataset_generation.language_labels.synthetic import write_route
from dataset_generation.language_labels.vqa.labeller import VqaLabeller


def main() -> int:
    """Label a made-up dataset and print frames per second per core."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_generation.language_labels.benchmark",
        description="Frames labelled per second and core, questions and commentary together.",
        epilog="example: python -m dataset_generation.language_labels.benchmark --frames 2000",
    )
    parser.add_argument("--frames", type=int, default=2000, help="frames to label (default: %(default)s)")
    parser.add_argument("--cars", type=int, default=8, help="vehicles per frame (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="corrected", help="default: %(default)s")
    parser.add_argument("--data", type=Path, help="label this dataset instead, into a temporary folder")
    arguments = parser.parse_args()
    profile = profile_named(arguments.profile)
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder) / "data_set"
        if arguments.data is None:
            for index in range(max(1, arguments.frames // 100)):
                write_route(data, index, min(100, arguments.frames), arguments.cars)
        options = LabelOptions(data, Path(folder) / "labels", Path("data/simlingo"), profile, jobs=arguments.jobs)
        start, cpu = time.perf_counter(), time.process_time()
        summaries = label_dataset([VqaLabeller(profile), CommentaryLabeller(profile)], options)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    frames = summaries["vqa"].made
    rate = frames / wall / arguments.jobs
    print(f"{frames} frames in {wall:.1f} s: {rate:.0f} frames per second per core ({arguments.profile})")
    result = {
        "frames": frames,
        "commentaries": summaries["commentary"].made,
        "seconds": round(wall, 3),
        "frames_per_cpu_second": round(frames / cpu, 1) if arguments.jobs == 1 else None,
        "frames_per_second_per_core": round(rate, 1),
        "profile": arguments.profile,
        "jobs": arguments.jobs,
        "failed": sum(len(summary.failed) for summary in summaries.values()),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
