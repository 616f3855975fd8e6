"""What goes into a policy each tick and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observation:
    """What the car knows at one tick.

    Attributes:
        image: (H, W, 3) uint8 RGB, whole camera image (1024 x 512 in the recorded data) after a JPEG round trip; the
            policy cuts the bonnet and tiles it.
        speed: Forward speed, m/s.
        target_points: (2, 2) next two target points, ego frame, metres.
        prompt: The whole user prompt, made by a function of `simlingo_training.data.prompts`.
        is_cut: Whether the bonnet was cut off the image before; only for policies that never look at it.
        seed: Of what a policy with dropout draws for this answer, 0 to 2^32 - 1; None draws on from torch's generator.
    """

    image: NDArray[np.uint8]
    speed: float
    target_points: NDArray[np.float64]
    prompt: str
    is_cut: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class Prediction:
    """What the model wants to do.

    Attributes:
        path: (20, 2) points one metre apart along the road, starting at the ego vehicle; ego frame, metres.
        speed_waypoints: (10, 2) positions 0.25, 0.5 ... 2.5 s ahead; ego frame, metres.
        text: Generated answer without special tokens; for the commentary prompt it ends in ``Waypoints:``.
        tokens: Ids of the answer, end token included when it was reached.
        stage_ms: Milliseconds of each stage of this call (preprocess, vision, prefill, text, action).
    """

    path: NDArray[np.float32]
    speed_waypoints: NDArray[np.float32]
    text: str
    tokens: tuple[int, ...] = ()
    stage_ms: dict[str, float] = field(default_factory=dict)

    @property
    def commentary(self) -> str:
        """The text without the closing word ``Waypoints:``."""
        return self.text.removesuffix("Waypoints:").strip()
