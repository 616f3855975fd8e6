"""Driving with a SimLingo-Base checkpoint; the same interface as SimLingo's policy, without text."""

from __future__ import annotations

import os

import numpy as np
import torch

from simlingo_base_training import training
from simlingo_training.data.images import camera_to_tiles
from simlingo_training.inference.policy import StageClock, choose_device, path_from_waypoints
from simlingo_training.inference.records import Observation, Prediction


class BasePolicy:
    """A loaded SimLingo-Base checkpoint that drives."""

    def __init__(self, checkpoint: training.BaseCheckpoint, device: str = "auto") -> None:
        """Move a checkpoint to a device; bfloat16 on a GPU."""
        self.device = choose_device(device)
        self.cut_bonnet = checkpoint.cut_bonnet
        self.tiles = checkpoint.tiles
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = checkpoint.model.to(self.device, dtype).eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> BasePolicy:
        """Load a checkpoint directory. Raises CheckpointError if it is no SimLingo-Base checkpoint."""
        return cls(training.load(folder), device)

    def reset(self) -> None:
        """Nothing is remembered between ticks."""

    @torch.inference_mode()
    def act(self, observation: Observation) -> Prediction:
        """Predict path and waypoints; the prompt of the observation is not read."""
        clock = StageClock(self.device)
        with clock.stage("preprocess"):
            tiles = torch.from_numpy(camera_to_tiles(observation.image, self.tiles, self.cut_bonnet)[None])
            speed = torch.tensor([observation.speed], dtype=torch.float32)
            points = torch.tensor(np.asarray(observation.target_points)[None], dtype=torch.float32)
        with clock.stage("action"):
            output = self.model(tiles.to(self.device), speed.to(self.device), points.to(self.device))
        path = output.path if output.path is not None else path_from_waypoints(output.speed_waypoints)
        return Prediction(
            path[0].float().cpu().numpy(), output.speed_waypoints[0].float().cpu().numpy(), "", (), clock.milliseconds
        )
