"""Runs on two processes, killed runs, averages, curves: the same numbers as one process that nobody disturbs."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from simlingo_training import run
from simlingo_training.average import WeightAverage
from simlingo_training.config import LoraSettings
from simlingo_training.curves import CurveLogger, read_curves
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import SampleLosses
from simlingo_training.models.training import TaskCurves
from tests.simlingo_training.test_training import small_model, small_run

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from omegaconf import OmegaConf
from simlingo_training.config import TrainSettings
from simlingo_training.run import train_any
values = OmegaConf.merge(OmegaConf.structured(TrainSettings), OmegaConf.load(sys.argv[1]))
train_any(OmegaConf.to_object(values))
"""
"""A training run of the settings in a file; Lightning starts it once more for the second process."""


def start(settings, folder):
    """Start a run as processes of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    OmegaConf.save(OmegaConf.structured(settings), folder / "settings.yaml")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(folder / "program.py"), str(folder / "settings.yaml")],
            stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
            env={**environment, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def finish(process, folder):
    """Wait for a run and show its last words if it failed."""
    try:
        assert process.wait(timeout=400) == 0, (folder / "log.txt").read_text()[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def weights(out):
    return checkpoints.read_tensors(out / "checkpoints" / "last" / "model.safetensors")


def short_run(data_root, out, **trainer):
    """Eight steps. Words count for nothing, because two processes average them over their own tokens."""
    base = small_run(data_root, out, model=small_model(lora=LoraSettings(rank=4, alpha=8, dropout=0.0)))
    return replace(
        base,
        data=replace(base.data, samples_per_epoch=32, val_samples=12),
        optim=replace(base.optim, language_weight=0.0),
        trainer=replace(base.trainer, checkpoint_every_n_steps=1, log_every_n_steps=1, **trainer),
    )


@pytest.fixture(scope="module")
def alone(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    run.train(short_run(data_root, out))
    return out


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_with_half_the_batch_learn_what_one_learns(data_root, alone, tmp_path, strategy):
    settings = short_run(data_root, tmp_path / "out", devices=2, strategy=strategy)
    settings = replace(settings, data=replace(settings.data, batch_size=settings.data.batch_size // 2))
    finish(start(settings, tmp_path), tmp_path)
    first, second = weights(alone), weights(tmp_path / "out")
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], atol=2e-4, rtol=1e-3, msg=name)
    both = [(path / "validation.json").read_text() for path in (alone, tmp_path / "out")]
    numbers = [np.array([float(text) for text in re.findall(r"\d+\.\d+", content)]) for content in both]
    np.testing.assert_allclose(numbers[1], numbers[0], rtol=2e-2)


def test_a_killed_run_resumes_to_the_same_curve(data_root, alone, tmp_path):
    """Killed without warning somewhere in the second epoch, wherever the process then is."""
    settings = short_run(data_root, tmp_path / "out")
    process = start(settings, tmp_path)
    curve = tmp_path / "out" / "csv" / "metrics.csv"
    deadline = time.monotonic() + 300
    while not (curve.is_file() and max((row[0] for row in read_curves(curve)), default=0) >= 6):
        assert process.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not run.is_finished(tmp_path / "out")
    run.train(settings)
    first, second = weights(alone), weights(tmp_path / "out")
    for name in first:
        torch.testing.assert_close(second[name], first[name], atol=1e-6, rtol=1e-5)
    curves = []
    for path in (alone / "csv" / "metrics.csv", curve):
        rows = read_curves(path)
        assert len({row[:2] for row in rows}) == len(rows)
        curves.append({row[:2]: row[2] for row in rows if row[1].startswith(("train_", "lr-"))})
    # Between storing a step and logging it lies a moment in which the kill can fall.
    assert len({step for step, _ in curves[0].keys() - curves[1].keys()}) <= 1
    for key, value in curves[1].items():
        assert curves[0][key] == pytest.approx(value, rel=1e-5, abs=1e-7), key


def test_a_state_is_stored_between_two_steps_and_once(data_root, tmp_path, monkeypatch):
    """Gradients of batches that add up to one step are not stored: a run resumed among them would take another step."""
    settings = short_run(data_root, tmp_path, accumulate=2)
    stored, write = [], run.CheckpointWriter.write

    def watch(writer, trainer, names, record):
        stored.append((trainer.global_step, trainer.fit_loop.epoch_loop.batch_progress.current.ready, record))
        write(writer, trainer, names, record)

    monkeypatch.setattr(run.CheckpointWriter, "write", watch)
    run.train(replace(settings, trainer=replace(settings.trainer, max_epochs=1)))
    assert [(step, batches) for step, batches, record in stored if not record] == [(1, 2), (2, 4)]


def test_deepspeed_is_asked_for_by_name():
    import importlib.util

    settings = small_run("none", "none")
    settings = replace(settings, trainer=replace(settings.trainer, strategy="deepspeed_stage_2"))
    if importlib.util.find_spec("deepspeed") is None:
        with pytest.raises(ValueError, match="pip install deepspeed"):
            run.make_strategy(settings)
    else:
        assert run.make_strategy(settings) == "deepspeed_stage_2"


def test_the_average_is_validated_stored_and_resumed(data_root, tmp_path):
    """Its value is that of the recurrence; training goes on with the weights themselves."""
    settings = short_run(data_root, tmp_path, ema_decay=0.9)
    seen, validated = [], []

    class Watch(pl.Callback):
        def on_fit_start(self, trainer, module):
            seen.append(module.model.heads.speed_queries.detach().clone())

        def on_train_batch_end(self, trainer, module, *_):
            seen.append(module.model.heads.speed_queries.detach().clone())

        def on_validation_batch_start(self, trainer, module, *_):
            validated.append((trainer.global_step, module.model.heads.speed_queries.detach().clone()))

    make = run.make_callbacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "make_callbacks", lambda *args: [*make(*args), Watch()])
        run.train(settings)
    average = seen[0]
    for step, value in enumerate(seen[1:], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        if step == 4:
            torch.testing.assert_close(next(w for s, w in validated if s == 4), average)
    torch.testing.assert_close(weights(tmp_path)["heads.speed_queries"], average)
    again = WeightAverage(torch.nn.Linear(2, 1), 0.9)
    again.on_fit_start(None, None)
    again._average[0].add_(1.0)
    resumed = WeightAverage(again._model, 0.9)
    resumed.load_state_dict(again.state_dict())
    resumed.on_fit_start(None, None)
    torch.testing.assert_close(resumed._average, again._average)


def test_curves_go_on_where_a_run_resumes(tmp_path):
    first = CurveLogger(tmp_path)
    for step in range(4):
        first.log_metrics({"a": step / 3, "epoch": 0}, step)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("4,a")
    second = CurveLogger(tmp_path)
    second.log_metrics({"a": 9.0}, 2)
    assert read_curves(tmp_path / "metrics.csv") == [(0, "a", 0.0), (1, "a", 1 / 3), (2, "a", 9.0)]


def test_curves_of_tasks_are_means_over_samples_and_tokens():
    curves = TaskCurves()
    points = {"speed_wps_loss": torch.tensor([1.0, 3.0, 5.0])}
    tokens, rows = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0, 9.0]), torch.tensor([0, 0, 1, 1, 1, 2])
    curves.add(SampleLosses(points, tokens, rows), ["vqa", "vqa", "x"])
    assert curves.take() == {
        "train_tasks/vqa/speed_wps_loss": 2.0,
        "train_tasks/vqa/language_loss": 2.0,
        "train_tasks/x/speed_wps_loss": 5.0,
        "train_tasks/x/language_loss": 9.0,
    }
    assert curves.take() == {}
