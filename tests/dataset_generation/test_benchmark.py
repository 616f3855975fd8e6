"""Benchmarks end with a line of JSON and handle as many frames as asked for."""

import json

import pytest

from dataset_generation import benchmark
from dataset_generation.language_labels.synthetic import write_route
from driving.records import find_runs


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_labels_of_a_repeated_collection(tmp_path, capsys):
    write_route(tmp_path, 0, 26, 2)
    assert benchmark.main(["labels", "--data", str(tmp_path), "--frames", "30"]) == 0
    result = last_line(capsys)
    assert result["frames"] == 52
    assert result["vqa+commentary"]["frames"] == 52
    assert result["dreaming"]["frames"] == 2 * (26 - 9)
    assert result["buckets"]["frames_per_second_per_core"] > 0


def test_repeated_runs_are_runs_of_their_own(tmp_path):
    run = write_route(tmp_path / "one", 0, 12, 0)
    assert benchmark.repeat_runs([run], tmp_path / "many", 30) == 36
    copies = find_runs(tmp_path / "many")
    assert len({copy.key for copy in copies}) == 3
    assert all(copy.frames() == run.frames() for copy in copies)


def test_index_is_extended_by_what_is_new(capsys):
    assert benchmark.main(["index", "--frames", "1000"]) == 0
    result = last_line(capsys)
    assert result["frames"] == 1000
    assert result["extend_by_1_run"]["seconds"] > 0


def test_missing_collection_is_named(tmp_path, capsys):
    assert benchmark.main(["labels", "--data", str(tmp_path / "none")]) == 2
    assert "expected a dataset root" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["labels", "index"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([command, "--help"])
    assert "--frames" in capsys.readouterr().out
