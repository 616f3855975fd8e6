"""Assembly of a training run: model, data, loggers, callbacks, trainer."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import LearningRateMonitor, ModelSummary, TQDMProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from driving.files import write_json, write_text
from simlingo_training.average import WeightAverage
from simlingo_training.config import TrainSettings
from simlingo_training.curves import CURVES, CurveLogger
from simlingo_training.data.module import SimLingoData
from simlingo_training.evaluation.openloop import table
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.attention import FLASH4, prefer_flash4
from simlingo_training.models.backbone import Backbone
from simlingo_training.models.checkpoint import Checkpoint
from simlingo_training.models.flops import peak_tflops
from simlingo_training.models.fused import fuse
from simlingo_training.models.pretrained import load_backbone
from simlingo_training.models.released import Tensors
from simlingo_training.models.sharding import whole_tensors
from simlingo_training.models.training import SimLingoTraining
from simlingo_training.visualise import DrawPredictions

log = logging.getLogger(__name__)

DDP = "ddp"
FSDP2 = "fsdp2"
"""Torch's second fully sharded data parallel, ``torch.distributed.fsdp.fully_shard``."""

MASTER_PRECISION = "bf16-master"
"""bfloat16 weights and activations, float32 masters in the optimiser; what DeepSpeed's half precision does."""

RESUME_FILE = "trainer.ckpt"
"""Lightning's full state inside ``checkpoints/last``, for resuming."""


MODEL_SETTINGS = ("kind", "recipe", "model", "base")
"""Sections that decide what the weights of a run are for."""

FREE_SETTINGS = ("name", "out", "resume", "logging", "cluster")
"""Sections that change no weight."""


class Storable(Protocol):
    """A model that can be written as a checkpoint directory."""

    model: Any
    meta: dict[str, Any] | None

    def save(self, folder: str | os.PathLike[str], tensors: Tensors | None = None) -> Path:
        """Write the directory; ``tensors`` are the weights where the model holds a part of them only."""
        ...


Recipe = Callable[[TrainSettings], tuple[Storable, SimLingoData, SimLingoTraining]]
"""Builds what is stored, the data and the training module of a run."""


class CheckpointWriter(pl.Callback):
    """Stores the model as a checkpoint directory at every validation, and Lightning's state beside the last one."""

    def __init__(self, checkpoint: Storable, settings: TrainSettings, average: WeightAverage | None) -> None:
        """``average``, when there is one, is what the directories hold."""
        self.checkpoint = checkpoint
        self.average = average
        self.folder = Path(settings.out) / "checkpoints"
        self.keep_all = settings.trainer.keep_all
        self.every = settings.trainer.checkpoint_every_n_steps
        self._best = float("inf")
        self._step = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write ``last``, and ``best`` when the validation loss is the lowest so far."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        loss = float(trainer.callback_metrics.get("val/loss", torch.tensor(float("inf"))))
        names = [*self._names(trainer), *(["best"] if loss < self._best else [])]
        self._best = min(self._best, loss)
        self.write(trainer, names, {"val_loss": loss})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin at the step that a resumed run has come to."""
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write ``last`` every few steps when asked to, and before every validation, which takes its time or has no samples; once
        per step: gradients that add up over batches are not stored."""
        step, due_every = trainer.global_step, trainer.check_val_every_n_epoch or 1
        if step != self._step and self.every and step % self.every == 0:
            self.write(trainer, ["last"], {})
        elif trainer.is_last_batch and (trainer.current_epoch + 1) % due_every == 0:
            self.write(trainer, self._names(trainer), {})
        self._step = step

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write ``last`` when the process is asked to end, which Lightning does between two batches. Of several processes
        some may be a batch further: they cannot store one state together."""
        if isinstance(exception, SIGTERMException) and trainer.training and trainer.world_size == 1:
            self.write(trainer, ["last"], {})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the state in which training ended."""
        self.write(trainer, ["last"], {"finished": True})

    def _names(self, trainer: pl.Trainer) -> list[str]:
        return ["last", *([f"epoch={trainer.current_epoch:03d}"] if self.keep_all else [])]

    def write(self, trainer: pl.Trainer, names: list[str], record: dict[str, Any]) -> None:
        """Write the named checkpoint directories; the trainer's state goes beside ``last``."""
        partial = self.folder / f".{RESUME_FILE}.tmp"
        self.folder.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(partial)
        with nullcontext() if self.average is None else self.average.applied():
            self._store(trainer, names, record)
        if trainer.is_global_zero:
            partial.replace(self.folder / "last" / RESUME_FILE)
        trainer.strategy.barrier()

    def _store(self, trainer: pl.Trainer, names: list[str], record: dict[str, Any]) -> None:
        # Gathering divided weights takes all processes.
        tensors = whole_tensors(self.checkpoint.model)
        if not trainer.is_global_zero:
            return
        self.checkpoint.meta = {"step": trainer.global_step, "epoch": trainer.current_epoch, **record}
        for name in names:
            self.checkpoint.save(self.folder / name, tensors)

    def state_dict(self) -> dict[str, Any]:
        """Remembered over a resume."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self._best = state_dict["best"]


class Throughput(pl.Callback):
    """Logs samples per second, the share of the time spent waiting for data, padding, memory and arithmetic."""

    def __init__(self, every: int) -> None:
        """Log every that many optimiser steps."""
        self.every = every
        self._ended: float | None = None
        self._started = 0.0
        self._logged = 0
        self._forget()

    def _forget(self) -> None:
        self._waited = self._worked = self._padding = 0.0
        self._samples = self._batches = 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *_: Any) -> None:
        """The loader has delivered."""
        self._started = time.perf_counter()
        if self._ended is not None:
            self._waited += self._started - self._ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """The step is done."""
        self._ended = time.perf_counter()
        self._worked += self._ended - self._started
        self._samples += len(batch)
        self._batches += 1
        self._padding += batch.padding_share
        step = trainer.global_step
        if step % self.every == 0 and step != self._logged and self._waited + self._worked > 0:
            self._logged = step
            flops = pl_module.flops(batch) or 0.0  # type: ignore[operator]
            for logger in trainer.loggers:
                logger.log_metrics(self.rates(trainer.world_size, flops), step=step - 1)
            self._forget()

    def rates(self, processes: int, flops: float) -> dict[str, float]:
        """What is logged, for the batches since the last time, each of ``flops`` operations."""
        elapsed = self._waited + self._worked
        tflops = flops * self._batches / elapsed / 1e12
        values = {
            "throughput/samples_per_second": self._samples * processes / elapsed,
            "throughput/data_wait_share": self._waited / elapsed,
            "throughput/padding_share": self._padding / self._batches,
        }
        if flops:
            values["throughput/tflops_per_device"] = tflops
        if torch.cuda.is_available():
            values["throughput/memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            peak = peak_tflops(torch.cuda.get_device_name())
            if flops and peak is not None:
                values["throughput/flops_utilisation"] = tflops / peak
        return values

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time spent validating is not waiting."""
        self._ended = None


def make_loggers(settings: TrainSettings) -> list[Logger]:
    """CSV, TensorBoard and Weights & Biases as configured; the last one works offline unless logged in."""
    out = Path(settings.out)
    loggers: list[Logger] = []
    if settings.logging.csv:
        loggers.append(CurveLogger(out / "csv"))
    if settings.logging.tensorboard:
        loggers.append(TensorBoardLogger(str(out), name="tensorboard", version=""))
    if settings.logging.wandb:
        online = bool(os.environ.get("WANDB_API_KEY")) and os.environ.get("WANDB_MODE", "online") == "online"
        (out / "wandb").mkdir(parents=True, exist_ok=True)
        loggers.append(
            WandbLogger(
                project=settings.logging.wandb_project, name=settings.name, save_dir=str(out), offline=not online
            )
        )
    return loggers


def make_callbacks(checkpoint: Storable, settings: TrainSettings) -> list[pl.Callback]:
    """Average, checkpoints, throughput, learning rate, progress."""
    decay = settings.trainer.ema_decay
    average = WeightAverage(checkpoint.model, decay) if decay else None
    # The average leaves the model at the end of a validation, before the writer stores what training continues with.
    callbacks: list[pl.Callback] = [
        *([] if average is None else [average]),
        CheckpointWriter(checkpoint, settings, average),
        Throughput(settings.trainer.log_every_n_steps),
        ModelSummary(max_depth=2),
        TQDMProgressBar(refresh_rate=10),
    ]
    if settings.trainer.visualise:
        callbacks.append(DrawPredictions(Path(settings.out) / "visualise"))
    if settings.logging.csv or settings.logging.tensorboard or settings.logging.wandb:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    return callbacks


def uses_gpu(settings: TrainSettings) -> bool:
    """Whether the run computes on a GPU."""
    return settings.trainer.accelerator != "cpu" and torch.cuda.is_available()


def check_devices(settings: TrainSettings) -> None:
    """See that the GPUs a run asks for are there before its data and weights are read.

    Raises:
        ValueError: If they are not.
    """
    trainer = settings.trainer
    found = torch.cuda.device_count()
    if trainer.accelerator == "gpu" and not found:
        raise ValueError("trainer.accelerator=gpu, but PyTorch sees no GPU here; use trainer.accelerator=auto, or cpu")
    if uses_gpu(settings) and trainer.devices > found:
        raise ValueError(
            f"trainer.devices={trainer.devices}, but PyTorch sees {found} here; use trainer.devices={found}"
        )


def make_strategy(settings: TrainSettings) -> str | Strategy:
    """How a run is spread over devices.

    Raises:
        ValueError: For a strategy whose package is not installed.
    """
    trainer = settings.trainer
    if trainer.strategy.startswith("deepspeed") and importlib.util.find_spec("deepspeed") is None:
        raise ValueError(
            f"trainer.strategy={trainer.strategy} needs the package deepspeed, which is not installed: pip install deepspeed "
            "(with a CUDA compiler), or use trainer.strategy=fsdp2, which divides the same things and needs nothing more"
        )
    if trainer.strategy == FSDP2:
        processes = trainer.devices * trainer.num_nodes
        return ModelParallelStrategy(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    if trainer.strategy == DDP:
        # Gradients lie in the buffers that are summed over devices: no copies there and back.
        return DDPStrategy(gradient_as_bucket_view=True)
    return trainer.strategy


def make_trainer(callbacks: list[pl.Callback], settings: TrainSettings) -> pl.Trainer:
    """Lightning's trainer for a run.

    Raises:
        ValueError: See `make_strategy`.
    """
    trainer = settings.trainer
    on_cpu = not uses_gpu(settings)
    precision = "32-true" if on_cpu or trainer.precision == MASTER_PRECISION else trainer.precision
    if trainer.precision == MASTER_PRECISION and trainer.strategy.startswith("deepspeed"):
        precision = "bf16-mixed"  # DeepSpeed keeps the masters itself.
    return pl.Trainer(
        accelerator=trainer.accelerator,
        # Where no GPU was found, one process uses all cores; several are started only when a run asks for the CPU.
        devices=1 if on_cpu and trainer.accelerator != "cpu" else trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=make_strategy(settings),
        precision=precision,  # type: ignore[arg-type]
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        accumulate_grad_batches=trainer.accumulate,
        gradient_clip_val=settings.optim.gradient_clip,
        check_val_every_n_epoch=trainer.val_every_n_epochs,
        log_every_n_steps=trainer.log_every_n_steps,
        num_sanity_val_steps=0,
        logger=make_loggers(settings),
        callbacks=callbacks,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        default_root_dir=settings.out,
        benchmark=not on_cpu,
    )


@rank_zero_only
def write_record(settings: TrainSettings) -> None:
    """Write the resolved configuration and the software versions into the run folder."""
    out = Path(settings.out)
    write_text(out / "config.yaml", _described(settings))
    versions = {
        name: sys.modules[name].__version__
        for name in ("torch", "transformers", "pytorch_lightning", "peft")
        if name in sys.modules
    }
    write_json(out / "environment.json", {"python": platform.python_version(), **versions})


@rank_zero_only
def forget_run(out: Path) -> None:
    """Remove what would pass for this run's although one before it in the same folder left it: the state to resume from, the
    learning curve, the errors. Its checkpoints stay until they are written again."""
    folder = out / "checkpoints"
    if any(folder.glob(f"*/{checkpoints.WEIGHTS}")):
        log.warning("%s holds checkpoints of an earlier run; those that this run does not write stay there", folder)
    for left_over in (folder / "last" / RESUME_FILE, out / "validation.json", out / "csv" / CURVES):
        left_over.unlink(missing_ok=True)


def is_finished(out: Path) -> bool:
    """Whether a run in ``out`` came to its end."""
    last = out / "checkpoints" / "last"
    return (last / RESUME_FILE).is_file() and bool((checkpoints.read_config(last).get("meta") or {}).get("finished"))


def check_same_run(settings: TrainSettings, out: Path) -> None:
    """Warn when the run that ``out`` holds was begun with other settings, which its continuation would mix.

    Raises:
        ValueError: If it trains another model.
    """
    record = out / "config.yaml"
    if not record.is_file():
        return
    mine, theirs = (_flat(OmegaConf.create(text)) for text in (_described(settings), record.read_text()))
    names = sorted(name for name in mine | theirs if mine.get(name) != theirs.get(name))
    other = [name for name in names if name.split(".")[0] in MODEL_SETTINGS]
    if other:
        raise ValueError(
            f"{out} holds a run of another model, which differs in {', '.join(other)}; choose another out=, or resume=false"
        )
    changed = [name for name in names if name.split(".")[0] not in FREE_SETTINGS]
    if changed:
        log.warning("%s was begun with other values of %s; resume=false trains anew", out, ", ".join(changed))


def _described(settings: TrainSettings) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(settings))


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name of each setting to its value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, DictConfig) else {f"{prefix}{name}": value}
    return found


def train_any(settings: TrainSettings) -> dict[str, dict[str, float]]:
    """Train a run by the recipe that its settings name; see `train`."""
    module, _, function = settings.recipe.partition(":")
    return train(settings, getattr(importlib.import_module(module), function))


def train(settings: TrainSettings, recipe: Recipe | None = None) -> dict[str, dict[str, float]]:
    """Train a run, continuing from its last checkpoint, and return the final open-loop summary.

    Args:
        settings: The run.
        recipe: What is trained; SimLingo by default.

    Raises:
        FileNotFoundError, ValueError: If data, backbone, weights or devices are missing or do not fit.
        SystemExit: With status 143 when the process was asked to end; a run of one process has stored its state.
    """
    out = Path(settings.out)
    summary_file = out / "validation.json"
    resume_from = out / "checkpoints" / "last" / RESUME_FILE
    found = settings.resume and resume_from.is_file()
    if found:
        check_same_run(settings, out)
    check_devices(settings)
    if settings.resume and is_finished(out) and summary_file.is_file():
        log.info("%s is finished; nothing to do (resume=false trains anew)", out)
        summary = json.loads(summary_file.read_text())
        report(summary)
        return summary
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    # The stored state holds all weights: what they began with need not be there any more.
    begun = replace(settings, init_from=None, model=replace(settings.model, pretrained=False)) if found else settings
    checkpoint, data, module = (recipe or simlingo_recipe)(begun)
    trainer = make_trainer(make_callbacks(checkpoint, settings), settings)
    if not found:
        forget_run(out)
    write_record(settings)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=str(resume_from) if found else None, weights_only=True)
    except SIGTERMException:
        log.warning("asked to end (SIGTERM); the same command goes on from %s", resume_from)
        sys.exit(128 + signal.SIGTERM)
    if not data.num_validation:
        return {}
    trainer.validate(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        write_json(summary_file, module.last_summary)
    report(module.last_summary)
    return module.last_summary


def simlingo_recipe(settings: TrainSettings) -> tuple[Storable, SimLingoData, SimLingoTraining]:
    """What a SimLingo run trains, on what, and how."""
    checkpoint = make_checkpoint(settings)
    model = checkpoint.model
    tokens = model.backbone.tokens_per_tile
    data = SimLingoData(settings.data, settings.model.tiles, checkpoint.tokenizer, tokens, settings.seed)
    return checkpoint, data, SimLingoTraining(model, settings)


def make_checkpoint(settings: TrainSettings) -> Checkpoint:
    """A fresh model, or one with the weights of ``init_from``; in training mode."""
    checkpoint = checkpoints.build(settings.model)
    checkpoint.cut_bonnet = settings.data.cut_bonnet
    if settings.init_from:
        checkpoints.initialise(checkpoint.model, settings.init_from)
    elif settings.model.pretrained:
        load_backbone(checkpoint.model, settings.model.backbone)
    prepare(checkpoint.model.backbone, settings)
    checkpoint.model.train()
    return checkpoint


def prepare(backbone: Backbone, settings: TrainSettings) -> None:
    """Bring a backbone into the shape in which it trains fastest: type of the weights, order of the arithmetic, compilation."""
    trainer = settings.trainer
    keeps_masters = trainer.strategy == FSDP2 or trainer.strategy.startswith("deepspeed")
    if trainer.precision == MASTER_PRECISION and uses_gpu(settings) and not keeps_masters:
        backbone.narrow()
    if trainer.fused_layers:
        fuse(backbone, settings.model.lora.shared_dropout)
    if trainer.attention_kernel == FLASH4:
        prefer_flash4(backbone.vision_modules()[0])
    if trainer.compile:
        backbone.compile_layers(trainer.memory_budget, trainer.recompute_pointwise, trainer.keep_activations)
    if trainer.checkpoint_activations:
        backbone.checkpoint_activations()


@rank_zero_only
def report(summary: dict[str, dict[str, float]]) -> None:
    """Print the errors of the model beside those of the constant-speed straight predictor."""
    print("open-loop errors on the validation routes (metres; speed in m/s)")
    print(table(summary))
    model, straight = summary["model"], summary["straight"]
    share = model["waypoint_ade"] / max(straight["waypoint_ade"], 1e-9)
    print(
        f"validation waypoint ADE: model {model['waypoint_ade']:.3f} m, constant speed straight ahead "
        f"{straight['waypoint_ade']:.3f} m ({100 * share:.0f} %)"
    )
