"""Driving with a SimLingo-Base checkpoint; the same interface as SimLingo's policy, without text."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from simlingo_base_training import checkpoint as base_checkpoints
from simlingo_training.data.images import camera_to_tiles
from simlingo_training.inference.clock import StageClock
from simlingo_training.inference.engine import path_from_waypoints
from simlingo_training.inference.policy import Session, choose_device
from simlingo_training.inference.records import Observation, Prediction


class BasePolicy:
    """A loaded SimLingo-Base checkpoint that drives.

    Attributes:
        sees_bonnet: The histogram of the whole image enters its equalisation.
    """

    sees_bonnet = True

    def __init__(self, checkpoint: base_checkpoints.BaseCheckpoint, device: str = "auto") -> None:
        """Move a checkpoint to a device; bfloat16 on a GPU."""
        self.device = choose_device(device)
        self.cut_bonnet = checkpoint.cut_bonnet
        self.tiles = checkpoint.tiles
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = checkpoint.model.to(self.device, dtype).eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> BasePolicy:
        """Load a checkpoint directory. Raises CheckpointError if it is no SimLingo-Base checkpoint."""
        return cls(base_checkpoints.load(folder), device)

    def reset(self) -> None:
        """Nothing is remembered between ticks."""

    def act(self, observation: Observation) -> Prediction:
        """Predict path and waypoints; the prompt of the observation is not read."""
        return self.act_batch([observation])[0]

    @torch.inference_mode()
    def act_batch(self, observations: Sequence[Observation], sessions: Sequence[Session] = ()) -> list[Prediction]:
        """Predict for several cars in one batch; ``sessions`` are not read, because nothing is remembered.

        Raises:
            ValueError: If an image cannot be tiled.
        """
        clock = StageClock(self.device)
        images = [camera_to_tiles(o.image, self.tiles, self.cut_bonnet) for o in observations]
        tiles = torch.from_numpy(np.stack(images))
        speed = torch.tensor([o.speed for o in observations], dtype=torch.float32)
        points = torch.tensor(np.stack([o.target_points for o in observations]), dtype=torch.float32)
        clock.mark("preprocess")
        output = self.model(tiles.to(self.device), speed.to(self.device), points.to(self.device))
        path = output.path if output.path is not None else path_from_waypoints(output.speed_waypoints)
        paths, waypoints = path.float().cpu().numpy(), output.speed_waypoints.float().cpu().numpy()
        clock.mark("action")
        stages = clock.read()
        return [Prediction(paths[number], waypoints[number], "", (), stages) for number in range(len(observations))]
