"""Learning-rate schedule and parameter groups."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import torch
from torch import nn

from simlingo_training.config import OptimSettings
from simlingo_training.models.master import MasterWeights

START_DIVISOR = 25.0
"""The schedule starts at the peak divided by this."""

END_DIVISOR = 1e4
"""It ends at the start divided by this."""


VISION_PARTS = ("vision_tower", "multi_modal_projector", "vision_model", "connector")
"""Parts of parameter names of the vision side, of any backbone."""


def one_cycle(progress: float, pct_start: float) -> float:
    """Factor on the peak learning rate: cosine up to ``pct_start``, cosine down after it (Smith and Topin, 2018).

    Args:
        progress: Share of the run done, 0 to 1.
        pct_start: Share spent warming up.
    """
    start, end = 1 / START_DIVISOR, 1 / START_DIVISOR / END_DIVISOR
    if progress < pct_start:
        return _cosine(start, 1.0, progress / pct_start)
    return _cosine(1.0, end, min(1.0, (progress - pct_start) / (1 - pct_start)))


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


class RunProgress:
    """Share of a run that is done, by steps and, when there is a time budget, by the clock."""

    def __init__(
        self,
        total_steps: float,
        max_minutes: float | None,
        now: Callable[[], float] = time.monotonic,
        before: float = 0.0,
    ) -> None:
        """``total_steps`` is infinite where only the time is limited; ``before`` are the seconds that an interrupted run had
        trained."""
        self.total_steps = total_steps
        self.before = before
        self._agreed: float | None = None
        self.seconds = None if max_minutes is None else 60 * max_minutes
        self._now = now
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock at the first step."""
        if self._started is None:
            self._started = self._now()

    def agree(self, seconds: float) -> None:
        """Go by the seconds that the first of several processes has spent: each by its own clock, they would learn at different
        rates, and one would end while the others wait for it."""
        self._agreed = seconds

    @property
    def elapsed(self) -> float:
        """Seconds that count, see `agree`."""
        return self.spent if self._agreed is None else self._agreed

    @property
    def spent(self) -> float:
        """Seconds trained, those before an interruption included."""
        return self.before + (0.0 if self._started is None else self._now() - self._started)

    def at(self, step: int) -> float:
        """Progress in [0, 1] before step number ``step``."""
        by_steps = step / max(1, self.total_steps - 1)
        if self.seconds is None:
            return min(1.0, by_steps)
        return min(1.0, max(by_steps, self.elapsed / self.seconds))

    @property
    def is_over(self) -> bool:
        """Whether the time budget is used up."""
        return self.seconds is not None and self.elapsed >= self.seconds


def is_undecayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay would make no sense: biases, norms, layer scales, queries, embeddings of positions."""
    marks = ("queries", "lambda_", "cls_token", "position_embeddings", "embed_tokens", "encoding", "newline")
    return parameter.ndim < 2 or any(mark in name for mark in marks)


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], settings: OptimSettings) -> list[dict[str, object]]:
    """Trainable parameters by learning rate and weight decay; one group when the published recipe is used."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        is_vision = any(part in name for part in VISION_PARTS)
        lr = settings.vision_lr if is_vision and settings.vision_lr is not None else settings.lr
        decay = 0.0 if not settings.decay_all and is_undecayed(name, parameter) else settings.weight_decay
        groups.setdefault((lr, decay), []).append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def make_optimizer(named: Iterable[tuple[str, nn.Parameter]], settings: OptimSettings) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters, with float32 masters where they are narrower."""
    groups = parameter_groups(named, settings)
    adam = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=1e-8, fused=settings.fused)
    is_narrow = any(p.dtype != torch.float32 for group in adam.param_groups for p in group["params"])
    return MasterWeights(adam) if is_narrow else adam


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: OptimSettings, progress: RunProgress
) -> torch.optim.lr_scheduler.LRScheduler:
    """One-cycle schedule by steps (torch's own, which can move the first beta too) or by the clock."""
    if progress.seconds is not None or not settings.cycle_momentum:
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: one_cycle(progress.at(step), pct(settings, progress))
        )
    total, pct_start = int(progress.total_steps), settings.pct_start
    if math.isclose(pct_start * total, 1):
        pct_start *= 1 + 1e-6  # with a warm-up of exactly one step torch divides by zero
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[float(group["lr"]) for group in optimizer.param_groups],
        total_steps=total,
        pct_start=pct_start,
        cycle_momentum=True,
    )


def pct(settings: OptimSettings, progress: RunProgress) -> float:
    """Warm-up share in whole steps as torch's OneCycleLR counts it: pct_start * total - 1 of total - 1 steps."""
    total = progress.total_steps
    if progress.seconds is not None or total <= 1:
        return settings.pct_start
    return max(settings.pct_start * total - 1, 1e-9) / (total - 1)
