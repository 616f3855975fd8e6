"""Laws of moving runs aside and back: whatever happens in between, every file is in one of the two places."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_generation import clean
from driving.records import COMMENTARY, VQA, RunFolder

RUN = Path("simlingo/Town01_Rep0_short_route{number}_01_01_00_00_00")


def write_run(root: Path, number: int = 0, content: str = "first") -> RunFolder:
    """A run with labels of two kinds."""
    run = RunFolder(root, Path(str(RUN).format(number=number)))
    for path in (run.measurement_path(0), run.label_path(VQA, 0), run.label_path(COMMENTARY, 0)):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return run


def files(root: Path) -> dict[Path, str]:
    """Every file with its content, wherever it lies; paths as in the dataset."""
    found = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root): path.read_text() for path in found}


@contextlib.contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, moves: int) -> Iterator[None]:
    """Only so many folders can be moved, as on a disk that fills up."""
    move, left = shutil.move, [None] * moves

    def stop(source: Path, target: Path) -> None:
        if not left:
            raise OSError(errno.ENOSPC, "no space left on device")
        left.pop()
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", stop)
        yield


def restore(root: Path) -> int:
    return clean.main(["--data", str(root), "--restore"])


def test_runs_with_their_labels_go_aside_and_come_back(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, number) for number in range(2)]
    before = files(tmp_path)
    clean.move_aside(runs[0])
    assert not runs[0].path.exists()
    assert len(files(tmp_path / clean.REJECTED)) == 3
    assert restore(tmp_path) == 0
    assert files(tmp_path) == before
    assert not (tmp_path / clean.REJECTED).exists()
    assert restore(tmp_path) == 0


@pytest.mark.parametrize("moves", range(4))
def test_a_restore_that_was_interrupted_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    run = write_run(tmp_path)
    write_run(tmp_path, 1)
    before = files(tmp_path)
    clean.move_aside(run)
    with interrupted(monkeypatch, moves):
        assert restore(tmp_path) == (2 if moves < 3 else 0)
    assert restore(tmp_path) == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize("moves", range(3))
def test_a_move_that_was_interrupted_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    run = write_run(tmp_path)
    before = files(tmp_path)
    with interrupted(monkeypatch, moves), pytest.raises(OSError, match="no space"):
        clean.move_aside(run)
    assert run.path.is_dir(), "or nobody would find what is left of it"
    clean.move_aside(run)
    assert files(tmp_path / clean.REJECTED) == before


def test_what_is_no_run_comes_back_too(tmp_path: Path) -> None:
    clean.move_aside(write_run(tmp_path))
    for name in ("notes.txt", "data/simlingo/unfinished/rgb/0000.jpg", "drivelm/old/vqa/0000.json.gz"):
        path = tmp_path / clean.REJECTED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    wanted = files(tmp_path / clean.REJECTED)
    assert restore(tmp_path) == 0
    assert files(tmp_path) == wanted


def test_a_run_whose_place_is_taken_stays_aside_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path)
    clean.move_aside(run)
    aside = files(tmp_path / clean.REJECTED)
    again = run.measurement_path(0)
    again.parent.mkdir(parents=True)
    again.write_text("second")
    assert restore(tmp_path) == 1
    assert str(tmp_path / clean.REJECTED / "data" / run.relative) in capsys.readouterr().err
    assert files(tmp_path / clean.REJECTED) == aside
    assert again.read_text() == "second"
    assert not run.label_path(VQA, 0).exists(), "the labels belong to the other recording"


def test_nothing_is_moved_into_what_lies_aside_already(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    clean.move_aside(run)
    write_run(tmp_path, content="second")
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match="restore it"):
        clean.move_aside(run)
    assert files(tmp_path) == before
