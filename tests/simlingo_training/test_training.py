"""A small model end to end: configuration, learning, checkpoints, resuming, driving."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf.errors import OmegaConfBaseException

from driving.geometry import rotation_2d
from simlingo_training import run
from simlingo_training.config import (
    AugmentationSettings,
    CacheSettings,
    DataSettings,
    LoggingSettings,
    LoraSettings,
    ModelSettings,
    OptimSettings,
    TaskShares,
    TrainerSettings,
    TrainSettings,
    from_hydra,
)
from simlingo_training.curves import read_curves
from simlingo_training.data import prompts
from simlingo_training.data.images import TileSpec
from simlingo_training.evaluation.openloop import (
    displacement,
    errors,
    straight_at_constant_speed,
    table,
    waypoint_speed,
)
from simlingo_training.inference import Observation, Policy
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.losses import loss_terms
from simlingo_training.models.released import compare_keys
from simlingo_training.models.schedule import RunProgress, make_scheduler, one_cycle
from simlingo_training.models.training import SimLingoTraining

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "vision": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    "text": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 96,
    },
}


def small_model(**changes) -> ModelSettings:
    values = {"backbone": "tiny", "lora": LoraSettings(enabled=False), "tiles": TileSpec(192), "max_new_tokens": 12}
    return ModelSettings(**{**values, "overrides": SMALL, **changes})


def small_run(data_root, out, **changes) -> TrainSettings:
    data = DataSettings(
        root=str(data_root),
        batch_size=8,
        num_workers=0,
        val_fraction=0.25,
        samples_per_epoch=32,
        route_as="target_point",
        dreamer_share=0.25,
        augmentation=AugmentationSettings(colour=False),
        cache=CacheSettings(table_dir=str(Path(out) / "table"), in_memory=True),
        val_samples=24,
    )
    values = {
        "name": "small",
        "out": str(out),
        "model": small_model(),
        "data": data,
        "optim": OptimSettings(lr=3e-3, gradient_clip=1.0),
        "trainer": TrainerSettings(
            max_epochs=2, accelerator="cpu", precision="32-true", val_every_n_epochs=1, threads=1, visualise=False
        ),
        "logging": LoggingSettings(wandb=False, tensorboard=False),
    }
    return TrainSettings(**{**values, **changes})


def compose_settings(*overrides: str) -> TrainSettings:
    ConfigStore.instance().store(name="train_schema", node=TrainSettings)
    with initialize_config_dir(str(ROOT / "config"), version_base="1.3"):
        return from_hydra(compose("train", overrides=list(overrides)))


EXPERIMENTS = sorted(path.stem for path in (ROOT / "config" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    settings = compose_settings(f"experiment={experiment}")
    assert settings.name
    assert sum(settings.data.bucket_weights.values()) == pytest.approx(1.0) or not settings.data.bucket_weights


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("data.batchsize=3", "batchsize"),
        ("data.batch_size=0", "batch_size"),
        ("data.bucket_sampling=other", "intended"),
        ("model.attention=fast", "sdpa"),
        ("model.pretrained=true", r"model\.tokenizer=tiny"),
        ("trainer.attention_kernel=fast", "cudnn"),
        ("optim.lr=nothing", "lr"),
        ("data.samples_per_epoch=0", "samples_per_epoch"),
        ("data.val_samples=-1", "val_samples"),
        ("data.bucket_weights.all=-1", "bucket_weights"),
        ("trainer.val_every_n_epochs=0", "val_every_n_epochs"),
        ("trainer.max_epochs=-1", "max_minutes"),
        ("trainer.max_minutes=0", "max_minutes"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(override, error):
    with pytest.raises((ValueError, OmegaConfBaseException, Exception), match=error):
        compose_settings("experiment=simlingo_tiny", f"+{override}" if "batchsize" in override else override)


def test_command_line_ends_with_one_message_when_data_are_missing(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            "experiment=simlingo_tiny",
            f"data.root={tmp_path}/none",
            f"out={tmp_path}",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "train.py: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def trained(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    settings = small_run(data_root, out)
    return out, run.train(replace(settings, trainer=replace(settings.trainer, visualise=True)))


def test_a_run_writes_a_self_contained_checkpoint_and_its_errors(trained):
    out, summary = trained
    last = out / "checkpoints" / "last"
    assert {path.name for path in last.iterdir()} >= {
        "model.safetensors",
        "config.yaml",
        "config.json",
        "tokenizer.json",
    }
    assert json.loads((out / "validation.json").read_text()) == summary
    assert set(summary) >= {"model", "straight", "task/driving"}
    assert run.is_finished(out)
    assert list((out / "visualise").glob("*.png"))


def test_a_finished_run_is_not_trained_again(trained, data_root, monkeypatch):
    out, summary = trained
    monkeypatch.setattr(run, "make_trainer", lambda *_: pytest.fail("trained again"))
    assert run.train(small_run(data_root, out)) == summary


def test_a_run_begun_anew_does_not_pass_for_the_one_before_it(data_root, tmp_path):
    """Begun anew and killed before it stored anything, it begins again; it neither is finished nor goes on from the other's
    state, and has no curve of the other's."""
    base = small_run(data_root, tmp_path)
    first = replace(base, trainer=replace(base.trainer, max_epochs=1, log_every_n_steps=1))
    run.train(first)
    assert curves(tmp_path)
    second = replace(first, resume=False, optim=OptimSettings(lr=1e-4), trainer=base.trainer)
    assert end_at(second, 0, signal.SIGKILL) == -signal.SIGKILL
    assert not run.is_finished(tmp_path)
    assert not (tmp_path / "validation.json").exists()
    assert not (tmp_path / "checkpoints" / "last" / run.RESUME_FILE).exists()
    assert not (tmp_path / "csv" / "metrics.csv").exists()


def test_a_resumed_run_does_not_need_the_weights_it_began_with(trained, data_root, tmp_path):
    begun = tmp_path / "begun"
    shutil.copytree(trained[0] / "checkpoints" / "last", begun)
    settings = replace(small_run(data_root, tmp_path / "out"), init_from=str(begun))
    assert end_at(settings, 5, signal.SIGKILL) == -signal.SIGKILL
    shutil.rmtree(begun)
    run.train(settings)
    assert checkpoints.read_config(tmp_path / "out" / "checkpoints" / "last")["meta"]["step"] == 8


def test_missing_gpus_are_told_before_anything_is_read(data_root, tmp_path, monkeypatch):
    settings = small_run(data_root, tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    on_gpu = replace(settings, trainer=replace(settings.trainer, accelerator="gpu"))
    with pytest.raises(ValueError, match=r"no GPU here; use trainer\.accelerator=auto"):
        run.train(on_gpu, lambda _: pytest.fail("built"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"trainer\.devices=2$"):
        run.train(replace(on_gpu, trainer=replace(on_gpu.trainer, devices=8)), lambda _: pytest.fail("built"))


def test_gradients_are_clipped_under_autocast(data_root, tmp_path, monkeypatch):
    """The usual precision on a GPU, here computed by the CPU."""
    monkeypatch.setattr(run, "uses_gpu", lambda _: True)
    monkeypatch.setattr(run, "check_devices", lambda _: None)
    base = small_run(data_root, tmp_path)
    trainer = replace(base.trainer, precision=TrainerSettings().precision, max_epochs=1)
    assert trainer.precision == "bf16-mixed"
    run.train(replace(base, trainer=trainer))
    assert run.is_finished(tmp_path)


def test_a_run_is_not_mixed_with_one_of_other_settings(trained, data_root, caplog):
    out, summary = trained
    with pytest.raises(ValueError, match=r"model\.path_queries"):
        run.train(small_run(data_root, out, model=small_model(path_queries=False)))
    assert run.train(small_run(data_root, out, optim=OptimSettings(lr=1e-3, gradient_clip=1.0))) == summary
    assert "optim.lr" in caplog.text


def resumable_run(data_root, out, window):
    base = small_run(data_root, out)
    trainer = replace(base.trainer, checkpoint_every_n_steps=1, log_every_n_steps=1)
    return replace(base, data=replace(base.data, length_window=window), trainer=trainer)


@pytest.mark.parametrize(("kill_at", "window"), [([4], 1), ([1, 7], 2)])
def test_a_killed_run_resumes_to_the_same_curve_and_weights(data_root, tmp_path, kill_at, window):
    """Killed at the end of the first epoch; and in its middle and again in the middle of the second and of two batches
    filled by length. The process gets SIGKILL: nothing is written, closed or logged after it."""
    run.train(resumable_run(data_root, tmp_path / "whole", window))
    for step in kill_at:
        settings = resumable_run(data_root, tmp_path / "broken", window)
        assert end_at(settings, step, signal.SIGKILL) == -signal.SIGKILL
    run.train(resumable_run(data_root, tmp_path / "broken", window))
    whole, broken = (curves(tmp_path / name) for name in ("whole", "broken"))
    assert {step for step, name in whole if name == "train_losses/loss"} == set(range(8))
    assert broken.keys() == whole.keys()
    assert broken == pytest.approx(whole, rel=1e-4, abs=1e-6)
    first, second = (
        checkpoints.read_tensors(tmp_path / name / "checkpoints" / "last" / "model.safetensors")
        for name in ("whole", "broken")
    )
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5)


def test_a_run_without_validation_stores_its_state_after_every_epoch(data_root, tmp_path):
    def settings(name):
        base = small_run(data_root, tmp_path / name)
        trainer = replace(base.trainer, log_every_n_steps=1)
        return replace(base, data=replace(base.data, val_fraction=0.0), trainer=trainer)

    run.train(settings("whole"))
    assert end_at(settings("broken"), step=5, number=signal.SIGKILL) == -signal.SIGKILL
    last = tmp_path / "broken" / "checkpoints" / "last"
    assert checkpoints.read_config(last)["meta"]["step"] == 4
    run.train(settings("broken"))
    assert curves(tmp_path / "broken") == pytest.approx(curves(tmp_path / "whole"), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("step", [1, 3])
def test_a_run_that_is_asked_to_end_stores_its_state(step, trained, data_root, tmp_path):
    """SIGTERM, as from a cluster or a shutdown, before anything was stored: in the middle of the first epoch, or at its end, so
    that the validation is broken off."""
    settings = small_run(data_root, tmp_path)
    assert end_at(settings, step, signal.SIGTERM) == 128 + signal.SIGTERM
    assert not run.is_finished(tmp_path)
    assert checkpoints.read_config(tmp_path / "checkpoints" / "last")["meta"]["step"] == step + 1
    run.train(settings)
    whole, resumed = (
        checkpoints.read_tensors(out / "checkpoints" / "last" / "model.safetensors") for out in (trained[0], tmp_path)
    )
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name], atol=1e-6, rtol=1e-5)


def end_at(settings, step, number):
    """Train in a process that gets a signal of that number before a step; its exit status."""
    file = Path(settings.out) / "settings.pickle"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(settings))
    call = f"train_until_killed(pickle.load(open({str(file)!r}, 'rb')), {step}, signal.Signals({int(number)}))"
    code = f"from tests.simlingo_training.test_training import *; {call}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode


def curves(out):
    """(step, name) to value, of what does not depend on the clock."""
    rows = read_curves(out / "csv" / "metrics.csv")
    found = {(step, name): value for step, name, value in rows if not name.startswith("throughput/")}
    assert len(found) == sum(not name.startswith("throughput/") for _, name, _ in rows)
    return found


def train_until_killed(settings, step, number):
    """Train in this process, which gets a signal before the step of that number."""
    import pytorch_lightning as pl

    class Kill(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == step:
                os.kill(os.getpid(), number)

    make = run.make_callbacks
    run.make_callbacks = lambda *args: [*make(*args), Kill()]
    run.train(settings)


def first_batch(settings):
    """A fresh model in training mode and the first batch of its data."""
    checkpoint, data, _ = run.simlingo_recipe(settings)
    data.setup()
    return checkpoint.model, next(iter(data.train_dataloader()))


def test_the_small_preset_learns_32_samples_by_heart(data_root, tmp_path):
    """Driving and commentary, by the preset's own model, optimiser and schedule: every loss all but vanishes."""
    settings = compose_settings("experiment=simlingo_tiny")
    settings.out = str(tmp_path)
    settings.logging = LoggingSettings(wandb=False, tensorboard=False)
    settings.trainer = replace(settings.trainer, max_epochs=1, log_every_n_steps=1, threads=1, visualise=False)
    settings.data = replace(
        settings.data,
        root=str(data_root),
        buckets=None,
        bucket_weights={},
        fixed_samples=32,
        batch_size=8,
        samples_per_epoch=32 * 60,
        dreamer_share=0.0,
        tasks=TaskShares(driving=0.5, commentary=0.5, vqa=0.0),
        augmentation=AugmentationSettings(shift=False, colour=False),
        cache=CacheSettings(table_dir=str(tmp_path / "table"), in_memory=True),
        val_samples=8,
    )
    run.train(settings)
    found = curves(tmp_path)
    for name in ("route_loss", "speed_wps_loss", "language_loss"):
        assert np.mean([found[step, f"train_losses/{name}"] for step in range(4)]) > 0.1
        assert np.mean([found[step, f"train_losses/{name}"] for step in range(236, 240)]) < 0.04


ABLATIONS = {
    "waypoints only": ("model.path_queries=false",),
    "without dreaming": ("data.dreamer_share=0",),
    "without language": ("data.dreamer_share=0", "data.tasks.commentary=0", "data.tasks.vqa=0"),
    "without pre-trained vision": ("model.pretrained=false",),
    "frozen vision": ("model.freeze_vision=true",),
    "command": ("data.route_as=command",),
    "target points as text": ("data.route_as=target_point_language",),
    "one tile": ("model.tiles.max_tiles=1",),
    "adapters": ("model.lora.enabled=true",),
    "fused layers": ("model.lora.enabled=true", "model.lora.shared_dropout=true", "trainer.fused_layers=true"),
    "rows by length": ("data.length_window=4",),
    "another backbone": ("model.backbone=tiny_smolvlm",),
    "original sampling": ("data.bucket_sampling=published",),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_a_setting_and_takes_a_step(name, data_root, tmp_path):
    for experiment in ("simlingo_seed1", "simlingo_tiny"):
        settings = compose_settings(f"experiment={experiment}", *ABLATIONS[name])
    settings.model.overrides = {} if name == "another backbone" else SMALL
    settings.data.root, settings.data.cache.table_dir = str(data_root), str(tmp_path)
    settings.data.batch_size, settings.data.samples_per_epoch = 4, 16
    settings.data.buckets, settings.data.bucket_weights = None, {}
    model, batch = first_batch(settings)
    terms = loss_terms(model(batch.inputs), batch)
    torch.stack(list(terms.values())).sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert trained
    assert all(torch.isfinite(p.grad).all() for p in trained)
    assert ("route_loss" in terms) is (name != "waypoints only")
    tiles = 1 if name == "one tile" else 2
    assert batch.inputs.tiles.shape[1] == tiles
    assert (batch.inputs.ids == model.image_token).sum() == 4 * tiles * model.backbone.tokens_per_tile
    if name == "without language":
        assert set(batch.tasks) == {"driving"}
    if name == "frozen vision":
        assert not any(p.requires_grad for p in model.backbone.vision_modules()[0].parameters())
    if name == "command":
        assert not (batch.inputs.ids == model.point_token).any()


def test_a_trained_checkpoint_drives_and_says_something(trained):
    policy = Policy.load(trained[0] / "checkpoints" / "last", device="cpu")
    image = np.full((512, 1024, 3), 90, np.uint8)
    points = np.array([[15.0, 0.0], [35.0, 1.0]])
    observation = Observation(image, 4.0, points, prompts.commentary_prompt(4.0, prompts.points_sentence()))
    first, second = policy.act(observation), policy.act(observation)
    assert first.path.shape == (20, 2)
    assert first.speed_waypoints.shape == (10, 2)
    assert first.tokens == second.tokens
    np.testing.assert_allclose(first.path, second.path, atol=1e-4)
    assert set(first.stage_ms) == {"preprocess", "vision", "prefill", "text", "action"}


def test_text_is_kept_between_its_ticks(trained):
    policy = Policy.load(trained[0] / "checkpoints" / "last", device="cpu", text_every=3)
    points = np.array([[15.0, 0.0], [35.0, 1.0]])
    texts = []
    for tick in range(6):
        image = np.full((512, 1024, 3), 40 * tick, np.uint8)
        prompt = prompts.commentary_prompt(float(tick), prompts.points_sentence())
        texts.append(policy.act(Observation(image, float(tick), points, prompt)).tokens)
    assert texts[0] == texts[1] == texts[2]
    assert texts[3] == texts[4] == texts[5]


def test_checkpoints_of_another_kind_size_or_state_are_refused(trained, tmp_path):
    last = trained[0] / "checkpoints" / "last"
    with pytest.raises(checkpoints.CheckpointError, match=r"config\.yaml"):
        checkpoints.load(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in last.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(checkpoints.CheckpointError, match=r"model\.safetensors"):
        checkpoints.load(copy)
    (copy / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(checkpoints.CheckpointError, match="damaged"):
        checkpoints.load(copy)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("kind: simlingo", "kind: simlingo_base"))
    with pytest.raises(checkpoints.CheckpointError, match="simlingo_base"):
        checkpoints.load(copy)


def test_a_checkpoint_in_a_folder_named_like_a_packaged_backbone_is_read(tmp_path, monkeypatch):
    checkpoints.build(small_model()).save(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert checkpoints.load("tiny").model.backbone.width == SMALL["text"]["hidden_size"]


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04"])
def test_a_run_does_not_start_from_a_file_that_holds_no_weights(content, tmp_path):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match="weights"):
        checkpoints.initialise(torch.nn.Linear(1, 1), tmp_path / "weights.pt")


def test_a_report_of_differing_keys_says_what_they_mean():
    plain = {name: torch.zeros(2) for name in ("heads.path_queries", "a")}
    adapted = {**plain, "x.lora_A.default.weight": torch.zeros(1)}
    assert "model.lora.enabled=false" in compare_keys(plain, adapted).explain("file")
    assert "model.lora.enabled=true" in compare_keys(adapted, plain).explain("file")
    assert compare_keys(plain, plain).fits
    assert "(2,) in the file, (3,) in the model" in compare_keys(plain, {**plain, "a": torch.zeros(3)}).explain("file")


def test_tiles_of_another_size_are_refused():
    with pytest.raises(ValueError, match="tile_px=192"):
        checkpoints.build(small_model(tiles=TileSpec(448)))


def test_only_adapters_heads_and_vision_train_with_lora():
    model = checkpoints.build(small_model(lora=LoraSettings(rank=4, alpha=8))).model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name in trained if "language_model" in name and "lora_" not in name]
    assert not [name for name in trained if "lm_head" in name or "embed_tokens" in name]
    assert [name for name in trained if "vision_tower" in name]
    frozen = checkpoints.build(small_model(freeze_vision=True)).model
    assert not [n for n, p in frozen.named_parameters() if p.requires_grad and "vision_tower" in n]
    assert [n for n, p in frozen.named_parameters() if p.requires_grad and "multi_modal_projector" in n]


def test_a_model_without_path_queries_predicts_waypoints_only(tmp_path):
    checkpoint = checkpoints.build(small_model(path_queries=False))
    assert checkpoint.model.heads.num_queries == 10
    policy = Policy.load(checkpoints.save(checkpoint, tmp_path), device="cpu")
    image = np.zeros((512, 1024, 3), np.uint8)
    prompt = prompts.driving_prompt(1.0, prompts.points_sentence())
    prediction = policy.act(Observation(image, 1.0, np.zeros((2, 2)), prompt))
    assert prediction.path.shape == (20, 2)


def test_numbers_in_queries_begin_with_no_effect_and_reach_path_and_waypoints(data_root, tmp_path):
    settings = small_run(data_root, tmp_path, model=small_model(numbers_in_queries=True))
    model, batch = first_batch(settings)
    told, others = model(batch.inputs), replace(batch.inputs, speed=batch.speed + 5)
    torch.testing.assert_close(model(others).path, told.path)
    torch.nn.init.normal_(model.query_numbers.mlp[-1].weight)
    assert (model(others).path - model(batch.inputs).path).abs().amax((1, 2)).min() > 1e-4
    assert (model(others).speed_waypoints - model(batch.inputs).speed_waypoints).abs().amax((1, 2)).min() > 1e-4


def test_dropout_of_the_published_agent_makes_equal_calls_differ(tmp_path):
    checkpoint = checkpoints.build(small_model(lora=LoraSettings(rank=4, alpha=8, dropout=0.3)))
    for name, parameter in checkpoint.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    folder = checkpoints.save(checkpoint, tmp_path)
    prompt = prompts.driving_prompt(1.0, prompts.points_sentence())
    observation = Observation(np.zeros((512, 1024, 3), np.uint8), 1.0, np.zeros((2, 2)), prompt)
    noisy, still = Policy.load(folder, device="cpu", dropout=True), Policy.load(folder, device="cpu")
    assert np.abs(noisy.act(observation).path - noisy.act(observation).path).max() > 1e-3
    np.testing.assert_allclose(still.act(observation).path, still.act(observation).path, atol=1e-5)
    with pytest.raises(ValueError, match="adapters"):
        Policy(checkpoints.build(small_model()), "cpu", dropout=True)


def test_dropout_is_on_in_training_only(data_root, tmp_path):
    settings = small_run(data_root, tmp_path, model=small_model(lora=LoraSettings(rank=4, alpha=8, dropout=0.3)))
    model, batch = first_batch(settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        assert not torch.equal(model(batch.inputs).query_states, model(batch.inputs).query_states)
        model.eval()
        assert torch.equal(model(batch.inputs).query_states, model(batch.inputs).query_states)


def test_full_size_shape_has_the_published_parameter_count():
    with torch.device("meta"):
        settings = ModelSettings(backbone="internvl2_1b")
        from simlingo_training.models.simlingo import SimLingo

        model = SimLingo(settings, 151648, 151662)
    assert sum(p.numel() for p in model.parameters()) == 957_195_520
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 327_531_648


def test_one_cycle_starts_at_a_25th_peaks_and_ends_near_zero():
    assert one_cycle(0.0, 0.05) == pytest.approx(0.04)
    assert one_cycle(0.05, 0.05) == pytest.approx(1.0)
    assert one_cycle(1.0, 0.05) == pytest.approx(4e-6)


@pytest.mark.parametrize("total", [20, 37, 1000])
def test_the_schedule_is_torchs_one_cycle(total):
    def rates(scheduler, optimizer):
        found = []
        for _ in range(total - 1):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    def optimizer():
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-5, momentum=0.9)

    if total == 20:
        ours = optimizer()
        assert max(rates(make_scheduler(ours, OptimSettings(), RunProgress(total, None)), ours)) == pytest.approx(
            3e-5, rel=0.02
        )
        return
    ours, reference = optimizer(), optimizer()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        reference, 3e-5, total_steps=total, pct_start=0.05, cycle_momentum=False
    )
    np.testing.assert_allclose(
        rates(make_scheduler(ours, OptimSettings(), RunProgress(total, None)), ours),
        rates(scheduler, reference),
        rtol=1e-6,
    )


@pytest.mark.parametrize("total", [1, 20, 21])
def test_the_published_schedule_takes_any_number_of_steps(total):
    """With twenty steps five per cent are one, for which torch alone divides by zero."""
    weight = torch.nn.Parameter(torch.zeros(1))
    settings = OptimSettings(lr=1.0, cycle_momentum=True)
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    scheduler = make_scheduler(optimizer, settings, RunProgress(total, None))
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert all(rate > 0 for rate in rates)
    assert rates == pytest.approx([*sorted(rates[:2]), *sorted(rates[2:], reverse=True)])


def test_a_time_budget_ends_the_run_and_anneals_the_rate():
    clock = [0.0]
    progress = RunProgress(1000, 2.0, now=lambda: clock[0])
    progress.start()
    assert progress.at(10) == pytest.approx(10 / 999)
    clock[0] = 60.0
    assert progress.at(10) == pytest.approx(0.5)
    assert not progress.is_over
    clock[0] = 121.0
    assert progress.at(10) == 1.0
    assert progress.is_over


def test_a_resumed_run_goes_on_with_the_rest_of_its_time_budget(data_root, tmp_path):
    """The rate must not rise again: what was trained before the interruption counts."""
    checkpoint, _, first = run.simlingo_recipe(small_run(data_root, tmp_path))
    clock = [0.0]
    first.progress = RunProgress(1000, 2.0, now=lambda: clock[0])
    first.progress.start()
    clock[0] = 90.0
    state = {}
    first.on_save_checkpoint(state)
    second = SimLingoTraining(checkpoint.model, first.settings)
    second.progress = RunProgress(1000, 2.0, now=lambda: clock[0])
    second.on_load_checkpoint(state)
    assert second.progress.at(10) == pytest.approx(0.75)
    second.progress.start()
    clock[0] = 121.0
    assert second.progress.is_over


def test_a_run_whose_time_is_used_up_takes_no_step_more(data_root, tmp_path):
    """Only the time is limited; without validation nothing but the stored state tells that the run is finished."""
    base = small_run(data_root, tmp_path)
    trainer = replace(base.trainer, max_epochs=-1, max_minutes=1e-6)
    settings = replace(base, data=replace(base.data, val_fraction=0.0), trainer=trainer)
    for _ in range(2):
        run.train(settings)
        assert checkpoints.read_config(tmp_path / "checkpoints" / "last")["meta"]["step"] == 1
        assert run.is_finished(tmp_path)


def test_processes_go_by_the_clock_of_the_first(data_root, tmp_path):
    """By clocks of their own they would learn at different rates, and one would end while the others wait for it."""
    _, _, module = run.simlingo_recipe(small_run(data_root, tmp_path))
    _, batch = first_batch(small_run(data_root, tmp_path))
    strategy = SimpleNamespace(broadcast=lambda _: 90.0)
    trainer = SimpleNamespace(world_size=2, strategy=strategy, callback_metrics={})
    module.trainer, module.log = trainer, lambda *_, **__: None
    module.progress = RunProgress(1000, 2.0, now=lambda: 1e6)
    module.training_step(batch, 0)
    assert module.progress.at(10) == pytest.approx(0.75)
    assert not module.progress.is_over


def test_errors_of_known_offsets():
    label = np.cumsum(np.ones((3, 10, 2)), axis=1)
    ade, fde = displacement(label + np.array([3.0, 4.0]), label)
    np.testing.assert_allclose([ade, fde], 5.0)
    path, waypoints = straight_at_constant_speed(np.array([8.0]))
    np.testing.assert_allclose(waypoints[0, -1], [20.0, 0.0])
    np.testing.assert_allclose(path[0, :, 0], np.arange(20))
    np.testing.assert_allclose(waypoint_speed(waypoints @ rotation_2d(0.7)), 8.0)
    assert "waypoint_ade" in table({"model": {"waypoint_ade": 1.0}})


def test_validation_loss_of_the_straight_driver_is_the_training_loss_of_its_points():
    """By hand: 3 m too far costs 2.5 (linear part), half a metre aside 0.125 (quadratic part)."""
    path, waypoints = straight_at_constant_speed(np.array([8.0]))
    found = errors(path + np.array([0.0, 0.5]), waypoints + np.array([3.0, 0.0]), path, waypoints)
    np.testing.assert_allclose(found["loss"], 2.5 + 0.125)


def test_narrow_weights_follow_their_float32_masters():
    """Steps far below bfloat16's resolution add up; a plain bfloat16 optimiser would lose every one of them."""
    from simlingo_training.models.master import MasterWeights

    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    wide = torch.nn.Parameter(torch.ones(2))
    optimizer = MasterWeights(torch.optim.SGD([parameter, wide], lr=1e-4))
    for _ in range(100):
        parameter.grad, wide.grad = torch.ones_like(parameter), torch.ones_like(wide)
        optimizer.step()
    torch.testing.assert_close(parameter.float(), torch.full((4,), 0.99), atol=4e-3, rtol=0)
    torch.testing.assert_close(wide.detach(), torch.full((2,), 0.99))
    again = MasterWeights(torch.optim.SGD([torch.nn.Parameter(torch.zeros(4, dtype=torch.bfloat16)), wide], lr=1e-4))
    again.load_state_dict(optimizer.state_dict())
    torch.testing.assert_close(again._pairs[0][1].detach(), optimizer._pairs[0][1].detach())


def test_loader_processes_end_with_the_run(data_root, tmp_path):
    settings = small_run(data_root, tmp_path)
    data = replace(settings.data, num_workers=2, length_window=2, samples_per_epoch=16, val_fraction=0.0)
    run.train(replace(settings, data=data, trainer=replace(settings.trainer, max_epochs=2)))
    assert not multiprocessing.active_children()


def test_masters_are_clipped_as_float32_weights_are():
    from simlingo_training.models.master import MasterWeights, clip_gradients

    torch.manual_seed(0)
    narrow = [torch.nn.Parameter(torch.randn(5, 3).bfloat16()), torch.nn.Parameter(torch.randn(4))]
    wide = [torch.nn.Parameter(parameter.detach().float()) for parameter in narrow]
    optimizers = [MasterWeights(torch.optim.SGD(narrow, lr=0.5)), torch.optim.SGD(wide, lr=0.5)]
    for largest in (0.3, 100.0):
        for parameter, same in zip(narrow, wide):
            parameter.grad = torch.randn_like(parameter)
            same.grad = parameter.grad.float()
        norms = [clip_gradients(optimizer, largest) for optimizer in optimizers]
        torch.testing.assert_close(norms[0], norms[1])
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(optimizers[0]._pairs[0][1], wide[0])
    torch.testing.assert_close(narrow[1], wide[1])


def test_headline_errors_count_expert_drives_only():
    from simlingo_training.evaluation.openloop import OpenLoopReport

    zeros, ones = np.zeros((2, 20, 2)), np.ones((2, 10, 2))
    report = OpenLoopReport()
    speed = np.zeros(2)
    report.add(zeros, ones[:, :10], zeros, ones * [[[2.0]], [[1.0]]], speed, ["dreamer_stop", "driving"], ["d", "all"])
    summary = report.summary()
    assert summary["model"]["waypoint_ade"] == 0.0
    assert summary["task/dreamer_stop"]["waypoint_ade"] == pytest.approx(np.sqrt(2))
