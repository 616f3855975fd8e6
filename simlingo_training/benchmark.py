"""How fast training, inference and loading are.

    python -m simlingo_training.benchmark train --batch-size 32 --compile --fused  # samples per second on a GPU
    python -m simlingo_training.benchmark sweep --batch-size 32                    # several ways to train
    torchrun --nproc-per-node 4 -m simlingo_training.benchmark train --compile --fused   # on several GPUs
    python -m simlingo_training.benchmark infer --text-tokens 30                   # milliseconds per tick
    python -m simlingo_training.benchmark loader --data database/simlingo          # samples per second and core
    python -m simlingo_training.benchmark index                                    # opening a million frames, memory
    python -m simlingo_training.benchmark infer --backbone tiny --device cpu       # the small model on a laptop

Training is limited by matrix products of the vision tower (2 x 1025 tokens through 304 M weights, forward and backward),
inference by reading the decoder's weights once per generated token. Weights are random and batches made up, unless
``--data`` names a data set. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from simlingo_training.config import (
    LoraSettings,
    ModelSettings,
    OptimSettings,
)
from simlingo_training.data import prompts
from simlingo_training.data.benchmark import bench_index, bench_loader
from simlingo_training.data.collate import Batch, Collate
from simlingo_training.data.dataset import Draw, EncodedSample, Sample
from simlingo_training.data.images import TileSpec
from simlingo_training.data.tasks import Conversation
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.attention import FLASH4, KERNELS, attention_kernel, prefer_flash4
from simlingo_training.models.checkpoint import Checkpoint
from simlingo_training.models.flops import peak_tflops, training_flops
from simlingo_training.models.fused import fuse
from simlingo_training.models.losses import loss_terms
from simlingo_training.models.master import clip_gradients

COMMENTARY = "Follow the route. Slow down to stay behind the silver SUV that is to the front."


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}


def build_model(arguments: argparse.Namespace, **changes: Any) -> Checkpoint:
    """A model with random weights."""
    tiny = arguments.backbone == "tiny"
    tiles = TileSpec(192 if tiny else 448)
    lora = LoraSettings(enabled=not tiny and not arguments.full_language, shared_dropout=arguments.shared_dropout)
    settings = ModelSettings(backbone=arguments.backbone, tiles=tiles, lora=lora, **changes)
    torch.manual_seed(arguments.seed)
    with torch.device(arguments.device):
        return checkpoints.build(settings)


def synthetic_batch(checkpoint: Checkpoint, size: int, seed: int, multiple: int) -> Batch:
    """A batch of commentary samples with random pictures."""
    rng = np.random.default_rng(seed)
    spec = checkpoint.settings.tiles
    tokens = spec.num_tiles() * checkpoint.model.backbone.tokens_per_tile
    items = []
    for number in range(size):
        speed = float(rng.uniform(0, 15))
        prompt = prompts.commentary_prompt(speed, prompts.points_sentence())
        answer = f"{COMMENTARY} {prompts.WAYPOINTS_ANSWER}"
        tiles = rng.integers(0, 256, (spec.num_tiles(), spec.tile_px, spec.tile_px, 3), dtype=np.uint8)
        waypoints = np.cumsum(np.full((10, 2), speed / 4) * [1.0, 0.0], axis=0)
        path = np.stack([np.arange(20.0), np.zeros(20)], axis=1)
        points = rng.uniform(5, 40, (2, 2))
        sample = Sample(Conversation(prompt, answer, "commentary"), tiles, points, waypoints, path, speed, "made/0000")
        row = checkpoint.tokenizer.row(prompt, tokens, answer)
        items.append(EncodedSample(sample, row, Draw("driving", number, number, "all")))
    return Collate(checkpoint.tokenizer.padding_token, multiple)(items)


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, precision: str, device: torch.device, kernel: str
) -> Callable[[Batch], None]:
    """One optimiser step of the real training code, without logging."""

    def step(batch: Batch) -> None:
        with attention_kernel(kernel), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            terms = loss_terms(model(batch.inputs), batch)
            loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        clip_gradients(optimizer, 0.3)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def prepared_model(arguments: argparse.Namespace) -> Checkpoint:
    """A model with random weights in the shape in which it is to be trained."""
    checkpoint = build_model(arguments, attention=arguments.attention)
    backbone = checkpoint.model.train().backbone
    if arguments.precision == "bf16-mixed":
        backbone.cast_frozen(torch.bfloat16)
    elif arguments.precision == "bf16-master":
        backbone.narrow()
    if arguments.checkpoint_activations:
        backbone.checkpoint_activations()
    if arguments.fused:
        fuse(backbone, arguments.shared_dropout)
    if arguments.kernel == FLASH4:
        prefer_flash4(backbone.vision_modules()[0])
    if arguments.compile:
        backbone.compile_layers(arguments.memory_budget, arguments.recompute_pointwise, arguments.keep_activations)
    return checkpoint


def join_processes(arguments: argparse.Namespace) -> tuple[torch.device, int]:
    """Device and number of processes; ``torchrun`` starts one for each GPU."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device(arguments.device)
    if world == 1:
        return device, 1
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        arguments.device = str(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device, world


def bench_train(arguments: argparse.Namespace) -> dict[str, Any]:
    """Samples per second of full optimiser steps, of all processes together."""
    from simlingo_training.models.schedule import make_optimizer

    device, world = join_processes(arguments)
    torch.set_float32_matmul_precision("high")
    checkpoint = prepared_model(arguments)
    model = checkpoint.model
    fused = device.type == "cuda"
    optimizer = make_optimizer(model.named_parameters(), replace(OptimSettings(), fused=fused))
    batches = [
        synthetic_batch(checkpoint, arguments.batch_size, arguments.seed + number, 32).to(device) for number in range(2)
    ]
    devices = [device] if fused else None
    spread = model if world == 1 else DistributedDataParallel(model, devices, gradient_as_bucket_view=True)
    step = train_step(spread, optimizer, arguments.precision, device, arguments.kernel)
    for number in range(arguments.warm_up):
        step(batches[number % 2])
    seconds = timed([partial(step, batches[number % 2]) for number in range(arguments.steps)], device)
    if world > 1:
        distributed.destroy_process_group()
    return train_result(arguments, device, world, statistics.mean(seconds), training_flops(model, batches[0].inputs))


TRAIN_SETTINGS = (
    "backbone",
    "batch_size",
    "compile",
    "fused",
    "shared_dropout",
    "precision",
    "kernel",
    "memory_budget",
    "recompute_pointwise",
    "keep_activations",
)


def train_result(
    arguments: argparse.Namespace, device: torch.device, world: int, seconds: float, flops: float
) -> dict[str, Any]:
    """The JSON line of a training benchmark: settings, speed, arithmetic, memory."""
    result = {
        "benchmark": "train",
        **{name: getattr(arguments, name) for name in TRAIN_SETTINGS},
        "processes": world,
        "step_ms": 1000 * seconds,
        "samples_per_second": world * arguments.batch_size / seconds,
        "tflop_per_sample": flops / arguments.batch_size / 1e12,
        "achieved_tflops": flops / seconds / 1e12,
    }
    if device.type == "cuda":
        peak = peak_tflops(torch.cuda.get_device_name(device))
        result["flops_utilisation"] = None if peak is None else flops / seconds / 1e12 / peak
        result["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return {**result, **machine(device)}


VARIANTS = (
    "--compile",
    "--compile --fused",
    "--compile --fused --recompute-pointwise",
    "--compile --fused --recompute-pointwise --kernel cudnn",
    "--compile --fused --recompute-pointwise --shared-dropout --kernel cudnn",
    "--compile --fused --recompute-pointwise --keep-activations --shared-dropout --kernel cudnn",
    "--compile --fused --recompute-pointwise --keep-activations --shared-dropout --kernel flash4",
)
"""Ways to train that are compared by ``sweep``."""


def bench_sweep(arguments: argparse.Namespace) -> dict[str, Any]:
    """The training benchmark of every variant, each in a process of its own; a variant that fails is reported as such."""
    common = f"--backbone {arguments.backbone} --batch-size {arguments.batch_size} --device {arguments.device}"
    common += f" --steps {arguments.steps} --warm-up {arguments.warm_up}"
    rows = {}
    for variant in VARIANTS:
        command = [sys.executable, "-m", "simlingo_training.benchmark", "train", *common.split(), *variant.split()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            rows[variant] = {"error": done.stderr.strip().splitlines()[-1:]}
        else:
            found = json.loads(done.stdout.splitlines()[-1])
            rows[variant] = {name: found.get(name) for name in ("samples_per_second", "peak_memory_gb", "step_ms")}
        print(f"{variant:56} {rows[variant]}", flush=True)
    return {"benchmark": "sweep", "batch_size": arguments.batch_size, "variants": rows}


def timed(calls: list[Callable[[], Any]], device: torch.device) -> list[float]:
    """Seconds of each call, its GPU work included."""
    seconds = []
    for call in calls:
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def synchronise(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bench_infer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a tick: new sentence, sentence that still holds, no sentence, and the published algorithm."""
    from simlingo_training.inference import Observation, Policy, Session

    device = torch.device(arguments.device)
    checkpoint = build_model(arguments, max_new_tokens=arguments.text_tokens)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    published = published_tick_ms(checkpoint, dtype, device, arguments) if arguments.published else None
    policy = Policy(checkpoint, device, recorded=False if arguments.plain else None)
    image = np.random.default_rng(0).integers(0, 256, (512, 1024, 3), dtype=np.uint8)
    points = np.array([[15.0, 0.5], [35.0, 2.0]])
    sentence = prompts.points_sentence()
    asked = Observation(image, 5.3, points, prompts.commentary_prompt(5.3, sentence))
    kept = Session()
    policy.act(asked, kept)
    plain = Policy(checkpoint, device, recorded=False, use_drafts=False).act(asked, Session()).tokens
    given = Session(draft=policy.short_answer)
    silent = replace(asked, prompt=prompts.driving_prompt(5.3, sentence))
    result: dict[str, Any] = {"benchmark": "infer", "backbone": arguments.backbone, "text_tokens": len(kept.draft)}
    # Sums in another order may round another way; behind the first token that differs the sentences part.
    same = next((n for n, pair in enumerate(zip(plain, kept.draft)) if pair[0] != pair[1]), len(plain))
    result["tokens_as_the_plain_loop"] = same
    cases: dict[str, Callable[[], Any]] = {
        "new_sentence": lambda: policy.act(asked, Session()),
        "sentence_holds": lambda: policy.act(asked, kept),
    }
    for name, call in cases.items():
        result.update(measured(name, call, arguments, device))
    policy.text_every = 10**9
    result.update(measured("action_only", lambda: policy.act(silent, given), arguments, device))
    if published is not None:
        result["published_algorithm_ms"] = published
    return {**result, **machine(device)}


def measured(name: str, call: Callable[[], Any], arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Median milliseconds of a tick and of its stages."""
    for _ in range(arguments.warm_up):
        call()
    stages: dict[str, list[float]] = {}

    def keep() -> None:
        for stage, value in call().stage_ms.items():
            stages.setdefault(stage, []).append(value)

    seconds = timed([keep] * arguments.steps, device)
    medians = {stage: round(statistics.median(values), 3) for stage, values in stages.items()}
    print(f"{name:16} {1000 * statistics.median(seconds):8.2f} ms   {medians}", flush=True)
    return {f"{name}_ms": 1000 * statistics.median(seconds), f"{name}_stages_ms": medians}


@torch.inference_mode()
def published_tick_ms(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, arguments: argparse.Namespace
) -> float:
    """The published algorithm: the whole sequence again for every token, scores at every place, then one more pass."""
    model = checkpoint.model.eval().to(device)
    model.backbone.to(dtype)
    batch = synthetic_batch(checkpoint, 1, 0, 1).to(device)
    length = int(batch.prompt_lengths[0])

    def tick() -> None:
        text = model.embed_text(batch.inputs.ids[:, :length], batch.inputs.tiles, batch.inputs.target_points)
        for _ in range(arguments.text_tokens):
            scores = model.backbone.output_layer()(model.backbone.decode(text))
            text = torch.cat([text, model.backbone.embed(scores[:, -1:].argmax(-1)).to(text.dtype)], dim=1)
        queries = model.heads.queries().to(text.dtype)[None]
        states = model.backbone.decode(torch.cat([text, queries], dim=1))[:, -model.heads.num_queries :]
        model.heads(states, batch.speed)

    for _ in range(2):
        tick()
    milliseconds = 1000 * statistics.median(timed([tick] * max(3, arguments.steps // 4), device))
    print(f"{'published':16} {milliseconds:8.2f} ms", flush=True)
    return milliseconds


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("train", "sweep", "infer", "loader", "index"))
    parser.add_argument("--backbone", default="internvl2_1b", help="internvl2_1b or tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="measured repetitions")
    parser.add_argument("--warm-up", type=int, default=5, help="repetitions before that; compilation happens here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-master", choices=("bf16-master", "bf16-mixed", "32-true"))
    parser.add_argument("--kernel", choices=tuple(KERNELS), default="default", help="attention kernel")
    parser.add_argument(
        "--memory-budget", type=float, default=1.0, help="share of the activations that a compiled layer may keep"
    )
    parser.add_argument("--attention", default="sdpa", choices=("sdpa", "eager", "flash_attention_2"))
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    parser.add_argument("--fused", action="store_true", help="compute layers with fewer, larger matrix products")
    parser.add_argument(
        "--recompute-pointwise", action="store_true", help="compiled vision layers compute norms and activations again"
    )
    parser.add_argument("--keep-activations", action="store_true", help="of these keep results of activation functions")
    parser.add_argument("--shared-dropout", action="store_true", help="one dropout mask for adapters of one input")
    parser.add_argument("--length-window", type=int, default=1, help="batches filled by length together, for loader")
    parser.add_argument("--pad-multiple", type=int, default=1, help="rows are padded to a multiple of it, for loader")
    parser.add_argument(
        "--checkpoint-activations", action="store_true", help="recompute activations of the vision tower"
    )
    parser.add_argument("--full-language", action="store_true", help="train the whole language model, without adapters")
    parser.add_argument("--text-tokens", type=int, default=30, help="length of the generated answer")
    parser.add_argument("--plain", action="store_true", help="drive operation by operation, without recorded passes")
    parser.add_argument("--published", action="store_true", help="also measure the published algorithm")
    parser.add_argument("--data", type=Path, help="data root, for loader; folder for the made-up data, for index")
    parser.add_argument("--frames", type=int, default=1_000_000, help="of the made-up index")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True, help="change the pictures")
    return parser.parse_args()


def main() -> None:
    """Run one benchmark and print its JSON line."""
    arguments = parse()
    benches = {
        "train": bench_train,
        "infer": bench_infer,
        "loader": bench_loader,
        "index": bench_index,
        "sweep": bench_sweep,
    }
    result = benches[arguments.what](arguments)
    if os.environ.get("RANK", "0") != "0":
        return
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}))


if __name__ == "__main__":
    main()
