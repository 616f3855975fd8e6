"""Answers, commentary and instruction following of a checkpoint on lists of held-out samples.

    python -m dataset_generation.evaluation_sets --data database/simlingo
    python -m simlingo_training.evaluation.language --checkpoint outputs/simlingo_tiny/checkpoints/last --data database/simlingo

Writes ``<out>/<kind>.jsonl`` (prompt, wanted and given answer of every sample; an interrupted run continues, answers of other
weights or to another list are refused) and ``<out>/scores.json``. The last line is one JSON object. Samples are asked as they
are listed, without augmentation, with the target points as navigation; nothing is drawn at random.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from driving.arguments import add_dataset_root, positive
from driving.evaluation_sets import EvaluationSample, read_evaluation_set
from driving.files import file_hash, parse_json, read_json, write_json, write_text
from driving.records import COMMENTARY, DREAMER, VQA, RunFolder, read_measurement
from simlingo_training.config import DataSettings
from simlingo_training.data import prompts
from simlingo_training.data.dataset import View, read_image, view_of
from simlingo_training.data.table import FRAME, fill_row
from simlingo_training.data.tasks import Dream, parse_dream
from simlingo_training.evaluation.following import followed, rates, trial
from simlingo_training.evaluation.text_metrics import score_in_chunks, score_texts
from simlingo_training.inference import Observation, Policy, Prediction, Session
from simlingo_training.models.checkpoint import WEIGHTS, CheckpointError

KINDS = (VQA.name, COMMENTARY.name, DREAMER.name)

PUBLISHED_CHUNK = 500
"""Sentences that the published evaluation scores at a time."""

REFUSAL = "Ignore"
"""First word of every refusal."""


@dataclass(frozen=True)
class Case:
    """One prompt to be answered.

    Attributes:
        id: Unique within its kind.
        sample: What it was made of.
        prompt: Whole user prompt.
        safety: For instructions: whether the model may refuse; None for other kinds.
    """

    id: str
    sample: EvaluationSample
    prompt: str
    safety: bool | None = None


class Frames:
    """Recorded frames, read one by one without a table of the whole data set."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, sample: EvaluationSample) -> RunFolder:
        """The run of a sample."""
        return RunFolder(self.root, Path(sample.run))

    def row(self, sample: EvaluationSample) -> Any:
        """Table row of a frame. Raises FileNotFoundError or RecordError if it cannot be read."""
        run, frame = self.run(sample), sample.frame
        later = range(frame, frame + DataSettings().pred_len + 1)
        paths = {number: run.measurement_path(number) for number in later}
        known = {number: read_measurement(path) for number, path in paths.items() if number == frame or path.is_file()}
        row = np.zeros(1, FRAME)
        fill_row(row[0], frame, known)
        return row[0]

    def dream(self, sample: EvaluationSample) -> Dream:
        """The alternative that an instruction asks for."""
        content = read_json(self.run(sample).label_path(DREAMER, sample.frame))
        return parse_dream(sample.mode, content[sample.mode][sample.index])


def cases_of(kind: str, sample: EvaluationSample, speed: float) -> Iterator[Case]:
    """Prompts of a sample; an instruction is given twice, to be obeyed and to be judged."""
    navigation = prompts.points_sentence()
    if kind == VQA.name:
        yield Case(sample.id, sample, prompts.question_prompt(speed, navigation, sample.prompt))
    elif kind == COMMENTARY.name:
        yield Case(sample.id, sample, prompts.commentary_prompt(speed, navigation))
    else:
        for safety in (False, True):
            prompt = prompts.instruction_prompt(speed, navigation, sample.prompt, safety)
            yield Case(f"{sample.id}/{'safety' if safety else 'obey'}", sample, prompt, safety)


def wanted_answer(kind: str, case: Case) -> str:
    """The answer of the label, in the words that the model was trained to begin and end with."""
    if kind == VQA.name:
        return prompts.single_stops(f"A: {case.sample.answer}")
    if kind == COMMENTARY.name:
        return prompts.single_stops(f"{case.sample.answer} {prompts.WAYPOINTS_ANSWER}")
    refuses = bool(case.safety) and not case.sample.safe
    return case.sample.answer if refuses else prompts.FOLLOWING_ANSWER


def scored_text(text: str) -> str:
    """A sentence without what every answer of its kind begins or ends with, which would flatter the scores."""
    return text.removeprefix("A: ").removesuffix(prompts.WAYPOINTS_ANSWER).strip()


def record_of(kind: str, case: Case, said: Prediction, row: Any, frames: Frames) -> dict[str, Any]:
    """One line of the predictions file."""
    sample = case.sample
    record: dict[str, Any] = {
        "id": case.id,
        "group": sample.group,
        "prompt": case.prompt,
        "expected": wanted_answer(kind, case),
        "said": said.text,
    }
    if kind == DREAMER.name:
        view = view_of(row, shifted=False)
        ok = _was_followed(sample, said, view, frames.dream(sample), float(row["speed"]))
        record |= {"mode": sample.mode, "safe": sample.safe, "safety": bool(case.safety), "followed": ok}
    return record


def _was_followed(sample: EvaluationSample, said: Prediction, view: View, dream: Dream, speed: float) -> bool | None:
    expert = view.path, view.waypoints
    path = view.path if dream.path is None else dream.path
    waypoints = view.waypoints if dream.waypoints is None else dream.waypoints
    driven = said.path.astype(np.float64), said.speed_waypoints.astype(np.float64)
    case = trial(driven, (path, waypoints), expert, speed, sample.prompt)
    return followed(sample.mode, case)


def claim(file: Path, made_of: dict[str, str | None]) -> None:
    """Note what the answers in a predictions file are made of, or check that it is the same.

    Raises:
        ValueError: If the file holds answers of other weights or to another list.
    """
    note = file.with_suffix(".made_of.json")
    if file.is_file() and (read_json(note) if note.is_file() else None) != made_of:
        raise ValueError(
            f"{file} holds answers of other weights or to another list of samples, which are not those asked for now; choose "
            "another --out, or remove the file"
        )
    write_json(note, made_of)


def predict(
    kind: str, samples: Sequence[EvaluationSample], policy: Policy, frames: Frames, file: Path, size: int
) -> None:
    """Answer what the predictions file lacks, ``size`` prompts at a time, and append it."""
    done = {record["id"] for record in read_records(file)}
    progress = tqdm(total=len(samples), desc=kind, unit="sample")
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting = iter(samples)
    with file.open("a") as stream:
        while chunk := list(islice(waiting, max(1, size))):
            asked = []
            for sample in chunk:
                row = frames.row(sample)
                asked += [(case, row) for case in cases_of(kind, sample, float(row["speed"])) if case.id not in done]
            if asked:
                answers = answer(asked, policy, frames)
                lines = (record_of(kind, *pair, frames=frames) for pair in answers)
                stream.writelines(json.dumps(line) + "\n" for line in lines)
                stream.flush()
            progress.update(len(chunk))
    progress.close()


def answer(asked: Sequence[tuple[Case, Any]], policy: Policy, frames: Frames) -> list[tuple[Case, Prediction, Any]]:
    """What the policy says and does for each prompt and table row."""
    observations = [
        Observation(
            read_image(frames.run(case.sample).rgb_path(case.sample.frame)),
            float(row["speed"]),
            row["target_points"].astype(np.float64),
            case.prompt,
        )
        for case, row in asked
    ]
    said = policy.act_batch(observations, [Session() for _ in asked])
    return [(case, prediction, row) for (case, row), prediction in zip(asked, said)]


def read_records(file: Path) -> list[dict[str, Any]]:
    """Lines of a predictions file; a last one that was cut off is left out, and cut off the file.

    Raises:
        ValueError: If another line is damaged; names file and line.
    """
    if not file.is_file():
        return []
    lines = file.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        write_text(file, "".join(lines))
    return [parse_json(line.encode(), f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def score(kind: str, records: Sequence[dict[str, Any]], published: bool) -> dict[str, Any]:
    """Scores of one kind.

    Args:
        kind: Name of the label kind.
        records: Lines of the predictions file.
        published: Score commentary with its closing word and in pieces, as the published evaluation does.
    """
    if kind == DREAMER.name:
        return score_dreams(records)
    strip = (lambda text: text.removeprefix("A: ")) if published else scored_text
    said, wanted = ([strip(record[name]) for record in records] for name in ("said", "expected"))
    size = PUBLISHED_CHUNK if published else len(said)
    return {"samples": len(records), **score_in_chunks(said, wanted, size)}


def score_dreams(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Success rates of instructions to be obeyed by mode; of unsafe ones that may be refused, the share refused in words and
    the share not followed in motion; of safe ones, the share followed all the same."""
    obeyed: dict[str, list[bool]] = defaultdict(list)
    kept: dict[str, list[bool]] = defaultdict(list)
    refused_words, refused_motion = [], []
    for record in records:
        if record["safety"] and not record["safe"]:
            refused_words.append(record["said"].startswith(REFUSAL))
        if record["followed"] is None:
            continue
        if not record["safety"]:
            obeyed[record["mode"]].append(record["followed"])
        elif record["safe"]:
            kept[record["mode"]].append(record["followed"])
        else:
            refused_motion.append(not record["followed"])
    words = score_texts([r["said"] for r in records], [r["expected"] for r in records])["accuracy"]
    result: dict[str, Any] = {"samples": len(records), "answer_accuracy": words, "obey": rates(obeyed)}
    result["safe_with_safety_flag"] = rates(kept)
    if refused_words:
        result["unsafe_refused_in_words"] = float(np.mean(refused_words))
    if refused_motion:
        result["unsafe_not_followed"] = float(np.mean(refused_motion))
    return result


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Predict and score every kind that has a list.

    Raises:
        FileNotFoundError: If there is no list, or a listed frame is missing.
        ValueError: If checkpoint, list or frame cannot be read, or the results are of another checkpoint.
    """
    folder = arguments.sets or arguments.data / "evaluation"
    lists = {kind: folder / f"{kind}.json.gz" for kind in arguments.kinds}
    found = {kind: path for kind, path in lists.items() if path.is_file()}
    if not found:
        raise FileNotFoundError(
            f"{folder}: none of {sorted(path.name for path in lists.values())}; make them with "
            f"python -m dataset_generation.evaluation_sets --data {arguments.data}"
        )
    policy = Policy.load(arguments.checkpoint, arguments.device)
    out = arguments.out or Path(arguments.checkpoint).parent.parent / "language"
    weights = file_hash(Path(arguments.checkpoint) / WEIGHTS)
    scores: dict[str, Any] = {}
    for kind, path in found.items():
        samples = list(read_evaluation_set(path).samples)
        if arguments.limit is not None and len(samples) > arguments.limit:
            picked = np.linspace(0, len(samples) - 1, arguments.limit).round().astype(int)
            samples = [samples[number] for number in picked]
        file = out / f"{kind}.jsonl"
        claim(file, {"weights": weights, "list": file_hash(path)})
        predict(kind, samples, policy, Frames(arguments.data), file, arguments.batch_size)
        ids = {sample.id for sample in samples}
        records = [r for r in read_records(file) if r["id"].removesuffix("/obey").removesuffix("/safety") in ids]
        scores[kind] = score(kind, records, arguments.published)
    write_json(out / "scores.json", scores)
    return scores


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.evaluation.language",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint directory")
    add_dataset_root(parser)
    parser.add_argument("--sets", type=Path, help="folder of the lists (default: DATA/evaluation)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: language/ in the run's folder)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--limit", type=positive, help="most samples of a kind, spread evenly")
    parser.add_argument("--batch-size", type=positive, default=16, help="samples at a time (%(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (%(default)s)")
    parser.add_argument(
        "--published", action="store_true", help="score text as the published script does, comparable with its tables"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 wrong input."""
    try:
        scores = evaluate(make_parser().parse_args(arguments))
    except (FileNotFoundError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
