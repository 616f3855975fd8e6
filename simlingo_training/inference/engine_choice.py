"""Which engine runs a checkpoint's passes.

On a GPU this package's own kernels run wherever they can, recorded as CUDA graphs. What they cannot run, other GPUs, types
and networks, runs operation by operation, more slowly and with the same answers.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from simlingo_training.config import ModelSettings
from simlingo_training.inference.decoder import CachedDecoder, DropoutDecoder, head_size
from simlingo_training.inference.engine import Encode, Engine
from simlingo_training.inference.processor import ProcessorDecoder, ProcessorVision
from simlingo_training.inference.recorded import AsideRecorder, GraphRecorder, RecordedEngine, plain
from simlingo_training.inference.vision import FastVision
from simlingo_training.models.capability import Capability, too_old
from simlingo_training.models.simlingo import SimLingo

log = logging.getLogger(__name__)

LEAST_CAPABILITY = (8, 0)
"""The first GPUs that multiply bfloat16 (A100)."""

TYPES = (torch.bfloat16, torch.float32)
"""Types of weights that the kernels are written for."""

LEAST_HEAD = 16
"""Fewest channels of a head that Triton multiplies as matrices; more are a power of two."""

KEPT_ROWS = 512
"""Rows of queries, keys and values, each of one head, that a block of the attention kernels has room for at once."""


@dataclass(frozen=True)
class Gpu:
    """What the kernels need to know of a GPU.

    Attributes:
        capability: Its compute capability.
        shared_bytes: Shared memory that a block can have.
        is_nvidia: Whether it runs CUDA itself.
        has_triton: Whether Triton is there, which CUDA builds of torch for Linux bring.
    """

    capability: Capability
    shared_bytes: int
    is_nvidia: bool = True
    has_triton: bool = True

    @classmethod
    def of(cls, device: torch.device) -> Gpu:
        """Ask a device."""
        found: Any = torch.cuda.get_device_properties(device)
        shared = getattr(found, "shared_memory_per_block_optin", found.shared_memory_per_block)
        has_triton = importlib.util.find_spec("triton") is not None
        return cls((found.major, found.minor), shared, torch.version.hip is None, has_triton)

    def hindrance(self, what: str, size: int, dtype: torch.dtype) -> str | None:
        """Why attention with heads of ``size`` channels cannot run; None if it can."""
        if size < LEAST_HEAD or size & (size - 1):
            return f"heads of the {what} have {size} channels, and the kernels need a power of two from {LEAST_HEAD} on"
        needed = KEPT_ROWS * size * dtype.itemsize
        if needed > self.shared_bytes:
            return f"attention of the {what} needs {needed} bytes of shared memory, and the GPU has {self.shared_bytes}"
        return None


def hindrance(decoder: Any, dtype: torch.dtype, gpu: Gpu) -> str | None:
    """Why this package's kernels cannot run a decoder of transformers on a GPU; None if they can."""
    if not gpu.is_nvidia:
        return "the GPU is not one of NVIDIA's"
    if old := too_old(gpu.capability, LEAST_CAPABILITY, "the kernels need"):
        return old
    if not gpu.has_triton:
        return "Triton is not installed"
    if dtype not in TYPES:
        return f"the weights are {dtype}, and the kernels take {' or '.join(map(str, TYPES))}"
    return gpu.hindrance("decoder", head_size(decoder.config), dtype)


def make_engine(
    model: SimLingo, settings: ModelSettings, device: torch.device, recorded: bool | None, dropout: bool, most_cars: int
) -> Engine:
    """The fastest engine for a model that lies on its device; the options are those of `Policy`.

    Raises:
        ValueError: If ``recorded`` asks for what cannot be.
    """
    backbone = model.backbone
    gpu = Gpu.of(device) if device.type == "cuda" else None
    problem = "dropout is left on" if dropout else None
    if gpu and not problem:
        problem = hindrance(backbone.decoder(), backbone.output_layer().weight.dtype, gpu)
    if recorded and problem:
        raise ValueError(f"passes cannot be recorded: {problem}; leave `recorded` away")
    if recorded is None and gpu and problem:
        log.warning("the network runs operation by operation, not by this package's kernels: %s", problem)
    if recorded is False or problem or (recorded is None and not gpu):
        return _plain_engine(model, settings, device, dropout)
    if gpu is None:
        return _unrecorded_engine(model, settings, device, most_cars)
    return _recorded_engine(model, settings, device, gpu, most_cars)


def _parts(model: SimLingo) -> tuple[Any, torch.Tensor]:
    """Decoder and output matrix."""
    return model.backbone.decoder(), model.backbone.output_layer().weight.detach()


def _encoder(model: SimLingo) -> Encode:
    """The fastest way to encode tiles operation by operation."""
    for vision in (ProcessorVision, FastVision):
        if vision.supports(model.backbone):
            return vision(model.backbone).encode  # type: ignore[arg-type]
    return model.backbone.encode_tiles


def _plain_engine(model: SimLingo, settings: ModelSettings, device: torch.device, dropout: bool) -> Engine:
    parts = _parts(model)
    decoder: CachedDecoder | DropoutDecoder
    if dropout:
        decoder = DropoutDecoder(*parts)
    elif device.type == "cpu" and parts[1].dtype == torch.float32:
        decoder = ProcessorDecoder(*parts)
    else:
        decoder = CachedDecoder(*parts)
    return Engine(model, settings.tiles, _encoder(model), decoder, device)


def _unrecorded_engine(model: SimLingo, settings: ModelSettings, device: torch.device, most_cars: int) -> Engine:
    """The passes that a GPU records, without one."""
    decoder, longest = CachedDecoder(*_parts(model)), settings.max_new_tokens
    return RecordedEngine(model, settings.tiles, _encoder(model), decoder, device, plain, longest, most_rows=most_cars)


def _recorded_engine(
    model: SimLingo, settings: ModelSettings, device: torch.device, gpu: Gpu, most_cars: int
) -> Engine:
    # These need Triton.
    from simlingo_training.inference.fused import FusedDecoder
    from simlingo_training.inference.kernels import resize_tiles
    from simlingo_training.inference.sentence import SentenceKernel

    decoder, longest = FusedDecoder(*_parts(model)), settings.max_new_tokens
    encode = _fused_encoder(model, gpu)
    return RecordedEngine(
        model,
        settings.tiles,
        encode or _encoder(model),
        decoder,
        device,
        GraphRecorder(),
        longest,
        partial(SentenceKernel, longest=longest) if SentenceKernel.supports(decoder) else None,
        resize_tiles,
        encode is not None,
        most_cars,
        AsideRecorder(),
    )


def _fused_encoder(model: SimLingo, gpu: Gpu) -> Encode | None:
    """The way to encode tiles by kernels; None, and a word about it, where they cannot run."""
    from simlingo_training.inference.fused import FusedVision

    backbone, problem = model.backbone, "it is of another kind"
    if FusedVision.supports(backbone):
        vision = FusedVision(backbone)  # type: ignore[arg-type]
        found = gpu.hindrance("vision tower", vision.head_size, backbone.output_layer().weight.dtype)
        if found is None:
            return vision.encode
        problem = found
    log.warning("the vision tower runs operation by operation, not by this package's kernels: %s", problem)
    return None
