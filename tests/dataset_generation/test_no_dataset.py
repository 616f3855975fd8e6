"""Commands that read a dataset say so when there is none, and write nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import run_program

COMMANDS = {
    "dataset_generation.verify": ["{root}"],
    "dataset_generation.clean": ["--data", "{root}"],
    "dataset_generation.index": ["--data", "{root}", "--jobs", "1"],
    "dataset_generation.statistics": ["--data", "{root}"],
    "dataset_generation.viewer": ["--data", "{root}", "--all", "--out", "{root}/pages"],
    "dataset_generation.label_viewer": ["--data", "{root}", "--out", "{root}/pages"],
    "dataset_generation.evaluation_sets": ["--data", "{root}"],
    "dataset_generation.buckets": ["--data", "{root}"],
    "dataset_generation.dreaming": ["--data", "{root}"],
    "dataset_generation.dreaming.report": ["--data", "{root}"],
    "dataset_generation.language_labels": ["--data", "{root}"],
    "dataset_generation.language_labels.report": ["--data", "{root}"],
}


@pytest.mark.parametrize("folders", [(), ("data/simlingo",)], ids=["nothing", "no run"])
@pytest.mark.parametrize("module", COMMANDS)
def test_without_a_run_every_command_ends_with_one_message(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    module: str,
    folders: tuple[str, ...],
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    arguments = [argument.format(root=tmp_path) for argument in COMMANDS[module]]
    with pytest.raises(SystemExit) as ended:
        run_program(module, *arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "error: " in message
    assert str(tmp_path) in message
    assert sorted(tmp_path.rglob("*")) == before


def test_the_index_names_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "odd" / "measurements").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        run_program("dataset_generation.index", "--data", str(tmp_path), "--jobs", "1")
    assert ended.value.code == 2
    assert f"{tmp_path}/data/odd: expected a folder named" in capsys.readouterr().err
