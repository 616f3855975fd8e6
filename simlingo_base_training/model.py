"""SimLingo-Base: CLIP features of two tiles, speed and route as tokens, a small decoder, path and speed queries.

Dimension letters: B rows, S tile side, P patches per tile side, C projector width, E embedding width, D decoder width.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaModel

from simlingo_base_training.images import CLIP_MEAN, CLIP_STD
from simlingo_training.config import BaseModelSettings
from simlingo_training.models.heads import DrivingHeads, NumberEncoder, perceptron
from simlingo_training.models.pixels import normalise_tiles
from simlingo_training.models.simlingo import ModelOutput

PACKAGED = Path(__file__).parent / "backbones"

FEATURE_LAYER = -2
"""Hidden state of the vision tower that is used; the last layer and the norm behind it have no effect."""

IMAGE_SIZE = (359, 1024)
"""Rows and columns of the camera image without the bonnet, which decide how much of the tiles is padding."""

RANGES = {False: (64 / 3.6, 32.0), True: (110 / 3.6, 200.0)}
"""Speed, m/s, and distance, metres, by which inputs are divided; by ``wide_ranges``."""


def read_backbone(name: str) -> dict[str, Any]:
    """Read sizes by packaged name, JSON file, or checkpoint directory.

    Raises:
        FileNotFoundError: If it is none of them; the message lists the packaged ones.
    """
    for path in (PACKAGED / f"{name}.json", Path(name) / "config.json", Path(name)):
        if path.is_file():
            return json.loads(path.read_text())
    known = sorted(path.stem for path in PACKAGED.glob("*.json"))
    raise FileNotFoundError(f"no backbone {name!r}: expected one of {known}, a JSON file, or a checkpoint directory")


class SimLingoBase(nn.Module):
    """The network; every part that has an effect is trained."""

    def __init__(self, settings: BaseModelSettings) -> None:
        super().__init__()
        values = read_backbone(settings.backbone)
        vision = CLIPVisionConfig(**values["vision"])
        projector, embedding = int(values["projector_width"]), int(values["embed_dim"])
        decoder = LlamaConfig(vocab_size=1, bos_token_id=None, eos_token_id=None, **values["decoder"])
        self.tile_px = int(values["vision"]["image_size"])
        self.vision_tower = CLIPVisionModel(vision)
        # Kept for the released names; processes that train together would wait for gradients that never come.
        for unused in (*self.vision_tower.encoder.layers[FEATURE_LAYER + 1 :], self.vision_tower.post_layernorm):
            unused.requires_grad_(False)
        self.projector = perceptron((vision.hidden_size, projector, projector), nn.GELU)
        self.image_newline = nn.Parameter(torch.randn(projector) * projector**-0.5)
        self.feature_projection = nn.Linear(projector, embedding)
        self.temporal_encoding = nn.Parameter(0.02 * torch.randn(1, 1, 1, 1, embedding))
        self.camera_encoding = nn.Parameter(0.02 * torch.randn(1, 1, 1, 1, embedding))
        width = int(decoder.hidden_size)
        same = embedding == width
        self.language_projection = nn.Identity() if same else nn.Linear(embedding, width, bias=False)
        self.speed_encoder = NumberEncoder(width, inputs=1, hidden=(256,))
        self.route_encoder = NumberEncoder(width, inputs=2, hidden=(256,))
        self.decoder = LlamaModel(decoder)
        del self.decoder.embed_tokens
        self.heads = DrivingHeads(width, settings.path_queries, path_hidden=(256,))
        self.speed_range, self.point_range = RANGES[settings.wide_ranges]

    def encode_tiles(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, 2, S, S, 3) uint8 to a feature map without padding, pooled, with a newline column, (B, n, C)."""
        pixels = normalise_tiles(tiles.flatten(0, 1), self.image_newline.dtype, CLIP_MEAN, CLIP_STD)
        states = self.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER]
        features = self.projector(states[:, 1:])
        side = int(features.shape[1] ** 0.5)
        rows = features.reshape(len(tiles), 2, side, side, -1).permute(0, 4, 2, 1, 3).flatten(3)
        pooled = functional.avg_pool2d(without_padding(rows), 2)
        newline = self.image_newline[None, :, None, None].expand(len(tiles), -1, pooled.shape[2], 1)
        return torch.cat([pooled, newline.to(pooled.dtype)], dim=3).flatten(2).transpose(1, 2)

    def input_tokens(self, tiles: torch.Tensor, speed: torch.Tensor, target_points: torch.Tensor) -> torch.Tensor:
        """Vision, speed, two route tokens and the queries, (B, N, D).

        Args:
            tiles: (B, 2, S, S, 3) uint8.
            speed: (B,) m/s.
            target_points: (B, 2, 2) ego frame, metres.
        """
        features = self.feature_projection(self.encode_tiles(tiles))
        features = features + self.temporal_encoding[0, 0] + self.camera_encoding[0, 0]
        vision = self.language_projection(features)
        speed_token = self.speed_encoder(self.normalised_speed(speed)[:, None, None])
        route_tokens = self.route_encoder(self.normalised_points(target_points))
        queries = self.heads.queries().expand(len(tiles), -1, -1)
        return torch.cat(
            [vision, speed_token.to(vision.dtype), route_tokens.to(vision.dtype), queries.to(vision.dtype)], 1
        )

    def normalised_speed(self, speed: torch.Tensor) -> torch.Tensor:
        """m/s to a share of the range."""
        return speed / self.speed_range

    def normalised_points(self, points: torch.Tensor) -> torch.Tensor:
        """Metres in [-range, range] to [0, 1]."""
        return (points + self.point_range) / (2 * self.point_range)

    def forward(self, tiles: torch.Tensor, speed: torch.Tensor, target_points: torch.Tensor) -> ModelOutput:
        """Predict path and waypoints; ``token_losses`` of the result is empty."""
        tokens = self.input_tokens(tiles, speed, target_points)
        hidden = self.decoder(inputs_embeds=tokens, use_cache=False).last_hidden_state
        states = hidden[:, -self.heads.num_queries :]
        path, waypoints = self.heads(states, speed.reshape(-1))
        return ModelOutput(path, waypoints, hidden.new_zeros(0), states, hidden.new_zeros(0, hidden.shape[2]))


def without_padding(features: torch.Tensor) -> torch.Tensor:
    """Cut the rows (or columns) of a feature map (B, C, H, W) that show padding of the camera image only."""
    height, width = features.shape[2:]
    rows, columns = IMAGE_SIZE
    if columns / rows > width / height:
        padding = (height - int(round(rows * width / columns, 7))) // 2
        return features[:, :, padding : height - padding]
    padding = (width - int(round(columns * height / rows, 7))) // 2
    return features[..., padding : width - padding]


def base_losses(output: ModelOutput, path: torch.Tensor, waypoints: torch.Tensor) -> dict[str, torch.Tensor]:
    """Squared distances of each sample (B,), mean over points: ``route_loss`` and ``speed_wps_loss``."""
    losses = {"speed_wps_loss": (output.speed_waypoints - waypoints).pow(2).sum(-1).mean(1)}
    if output.path is not None:
        losses["route_loss"] = (output.path - path).pow(2).sum(-1).mean(1)
    return losses
