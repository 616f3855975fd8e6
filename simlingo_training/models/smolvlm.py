"""SmolVLM in transformers' native classes: SigLIP, pixel shuffle and one linear layer, Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from simlingo_training.models.backbone import Backbone
from simlingo_training.models.pixels import normalise_tiles

SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)


def smolvlm_config(values: Mapping[str, Any]) -> SmolVLMConfig:
    """Build transformers' configuration; the output layer is kept apart from the embedding table."""
    known = {key: value for key, value in values.items() if key not in ("model_type", "architectures")}
    return SmolVLMConfig(**{**known, "tie_word_embeddings": False})


class SmolVLMBackbone(Backbone):
    """SmolVLM and SmolVLM2 of any size."""

    def __init__(self, config: SmolVLMConfig) -> None:
        super().__init__()
        self.vlm = SmolVLMForConditionalGeneration(config)
        vision: Any = config.vision_config
        text: Any = config.text_config
        self.width = int(text.hidden_size)
        self.vocabulary = int(text.vocab_size)
        self.tile_px = int(vision.image_size)
        self.tokens_per_tile = (self.tile_px // int(vision.patch_size) // config.scale_factor) ** 2

    def encode_tiles(self, tiles: torch.Tensor) -> torch.Tensor:
        pixels = normalise_tiles(tiles.flatten(0, 1), self.visual_dtype(), SIGLIP_MEAN, SIGLIP_STD)
        side = self.tile_px // int(self.vlm.config.vision_config.patch_size)  # type: ignore[union-attr]
        whole = torch.ones(len(pixels), side, side, dtype=torch.bool, device=pixels.device)
        states = self.vlm.model.vision_model(pixel_values=pixels, patch_attention_mask=whole).last_hidden_state
        return self.vlm.model.connector(states).reshape(tiles.shape[0], -1, self.width)

    def embedding(self) -> nn.Embedding:
        return self.vlm.model.text_model.embed_tokens

    def output_layer(self) -> nn.Linear:
        return self.vlm.lm_head

    def decoder(self) -> nn.Module:
        return self.vlm.model.text_model

    def vision_modules(self) -> tuple[nn.Module, nn.Module]:
        return self.vlm.model.vision_model, self.vlm.model.connector
