"""Vision-language backbones behind one small interface.

Dimension letters: B rows of a batch, T tiles of an image, P visual tokens of a tile, N tokens, D width of the language
model, V vocabulary rows, S tile side in pixels.
"""

from __future__ import annotations

import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch_config
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy
from transformers import AutoConfig, InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from simlingo_training.config import LoraSettings
from simlingo_training.models.languages import is_repacked, llama_values
from simlingo_training.models.pixels import normalise_tiles

PACKAGED = Path(__file__).parent / "backbones"

LANGUAGE_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of a decoder block that carry low-rank adapters."""


class Backbone(nn.Module, ABC):
    """What SimLingo needs from a vision-language model.

    Attributes:
        width: D, size of the language model's hidden states.
        vocabulary: V, rows of the embedding table.
        tokens_per_tile: P.
        tile_px: S.
    """

    width: int
    vocabulary: int
    tokens_per_tile: int
    tile_px: int

    @abstractmethod
    def encode_tiles(self, tiles: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, S, S, 3) uint8 to visual tokens (B, T * P, D)."""

    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """The table of the text tokens."""

    @abstractmethod
    def output_layer(self) -> nn.Linear:
        """The layer that turns hidden states into V scores."""

    @abstractmethod
    def decoder(self) -> nn.Module:
        """The decoder; called with ``inputs_embeds`` it returns an object with ``last_hidden_state``."""

    @abstractmethod
    def vision_modules(self) -> tuple[nn.Module, nn.Module]:
        """The vision tower and the projector behind it."""

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids (..., N) to embeddings (..., N, D). Ids beyond the table (placeholders whose rows are overwritten
        later) take its last row."""
        return self.embedding()(ids.clamp(max=self.vocabulary - 1))

    def decode(self, embeddings: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Embeddings (B, N, D) to hidden states (B, N, D) after the final norm, causal. Rows padded on the right need no
        mask."""
        output = self.decoder()(inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False)
        return output.last_hidden_state

    def decode_at(self, embeddings: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """What `decode` makes of embeddings (B, N, D), but only at places (m,) of its flattened rows: (m, D). Fused layers
        leave out of the last layer what nobody reads."""
        decoder = self.decoder()
        if getattr(decoder, "reads_places", False):
            return decoder(inputs_embeds=embeddings, places=places).last_hidden_state
        return self.decode(embeddings).flatten(0, 1).index_select(0, places)

    def checkpoint_activations(self) -> None:
        """Recompute activations of the vision tower in the backward pass instead of keeping them."""
        self.vision_modules()[0].gradient_checkpointing_enable()  # type: ignore[operator]

    def compile_layers(
        self, memory_budget: float = 1.0, recompute_pointwise: bool = False, keep_activations: bool = False
    ) -> None:
        """Compile every layer of vision tower and decoder on its own: they are alike, so the compiler works once.

        Args:
            memory_budget: Share of the activations that may be kept for the backward pass.
            recompute_pointwise: Compute norms and activation functions of the vision tower again there, although a matrix
                product needs their result; the compiler would keep it.
            keep_activations: Of these keep what the activation functions of fused layers return.
        """
        tower, projector = self.vision_modules()
        for module in (tower, projector, self.decoder()):
            is_vision = module is not self.decoder()
            recomputes = recompute_pointwise and is_vision
            backend = partial(
                _compiled, budget=memory_budget, keep=not recomputes, keep_activations=recomputes and keep_activations
            )
            layers: list[nn.Module] = [p for p in module.modules() if isinstance(p, GradientCheckpointingLayer)]
            for part in (layers or [module]) + self.other_parts(module):
                part.compile(backend=backend)

    def other_parts(self, module: nn.Module) -> list[nn.Module]:
        """What is worth compiling beside the layers of vision tower, projector or decoder."""
        return []

    def cast_frozen(self, dtype: torch.dtype) -> None:
        """Keep weights that are not trained in a narrower type: autocast need not convert them at every step."""
        for parameter in self.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)

    def narrow(self) -> None:
        """Keep all weights in bfloat16 for training; the optimiser then holds float32 masters."""
        self.to(torch.bfloat16)
        for module in self.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False  # type: ignore[assignment]

    def visual_dtype(self) -> torch.dtype:
        """Type of the vision weights."""
        return next(self.vision_modules()[0].parameters()).dtype


def _compiled(graph: Any, inputs: Any, budget: float, keep: bool, keep_activations: bool) -> Any:
    """Compile a graph by Inductor; see `Backbone.compile_layers`."""
    from torch._inductor.compile_fx import compile_fx

    if keep_activations:
        for node in graph.graph.nodes:
            if node.target == "to" and _is_function(node.args[0]):
                node.meta["recompute"] = CheckpointPolicy.MUST_SAVE
    with functorch_config.patch(activation_memory_budget=budget, ban_recompute_materialized_backward=keep):
        return compile_fx(graph, inputs)


def _is_function(node: Any) -> bool:
    """Whether a node of a graph is the result of an autograd function; its conversion ends `models.fused.gelu`."""
    source = node.args[0] if node.target is operator.getitem else node
    return "autograd_function_apply" in str(source.target)


class InternVLBackbone(Backbone):
    """InternVL of versions 2, 2.5 and 3 of any size in transformers' native classes: InternViT, pixel unshuffle, projector,
    decoder."""

    def __init__(self, config: InternVLConfig) -> None:
        super().__init__()
        self.vlm = InternVLForConditionalGeneration(config)
        vision: Any = config.vision_config
        text: Any = config.text_config
        patches = [size // patch for size, patch in zip(vision.image_size, vision.patch_size)]
        self.width = int(text.hidden_size)
        self.vocabulary = int(text.vocab_size)
        self.tokens_per_tile = int(patches[0] * patches[1] * config.downsample_ratio**2)
        self.tile_px = int(vision.image_size[0])

    @property
    def config(self) -> InternVLConfig:
        """Sizes of all parts."""
        return self.vlm.config

    def encode_tiles(self, tiles: torch.Tensor) -> torch.Tensor:
        pixels = normalise_tiles(tiles.flatten(0, 1), self.visual_dtype())
        features = self.vlm.model.get_image_features(
            pixel_values=pixels, vision_feature_layer=-1, vision_feature_select_strategy="default", return_dict=True
        ).pooler_output
        return features.reshape(tiles.shape[0], -1, self.width)

    def project(self, patches: torch.Tensor) -> torch.Tensor:
        """Patch features (n, patches, C) of the tower to visual tokens (n, P, D)."""
        side = int(patches.shape[1] ** 0.5)
        shuffled = self.vlm.model.pixel_shuffle(
            patches.reshape(len(patches), side, side, -1), scale_factor=self.config.downsample_ratio
        )
        return self.vlm.model.multi_modal_projector(shuffled.flatten(1, 2))

    def embedding(self) -> nn.Embedding:
        return self.vlm.model.language_model.embed_tokens

    def output_layer(self) -> nn.Linear:
        return self.vlm.lm_head

    def decoder(self) -> nn.Module:
        return self.vlm.model.language_model

    def vision_modules(self) -> tuple[nn.Module, nn.Module]:
        return self.vlm.model.vision_tower, self.vlm.model.multi_modal_projector

    def other_parts(self, module: nn.Module) -> list[nn.Module]:
        return [part for name, part in module.named_children() if name in ("embeddings", "norm")]


def native_config(values: Mapping[str, Any]) -> InternVLConfig:
    """Build transformers' configuration from either layout: InternVL's original ``config.json`` or transformers' own.

    Raises:
        ValueError: For a model family that is neither.
    """
    kind = values.get("model_type")
    if kind == "internvl":
        return InternVLConfig(**{key: value for key, value in values.items() if key != "model_type"})
    if kind != "internvl_chat":
        raise ValueError(f"expected a configuration of type internvl_chat or internvl, got {kind!r}")
    vision = values["vision_config"]
    text = dict(values["llm_config"])
    if is_repacked(text):
        text = {**llama_values(text), "model_type": "llama"}
    text_type = text.pop("model_type", "qwen2")
    text.pop("architectures", None)
    return InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=vision["hidden_size"],
            num_hidden_layers=vision["num_hidden_layers"],
            num_attention_heads=vision["num_attention_heads"],
            intermediate_size=vision["intermediate_size"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            attention_bias=vision.get("qkv_bias", True),
            use_qk_norm=vision.get("qk_normalization", False),
            norm_type=vision.get("norm_type", "layer_norm"),
            layer_norm_eps=vision.get("layer_norm_eps", 1e-6),
            hidden_act=vision.get("hidden_act", "gelu"),
            layer_scale_init_value=vision.get("initializer_factor", 0.1),
            initializer_range=vision.get("initializer_range", 0.02),
        ),
        text_config=AutoConfig.for_model(text_type, **{**text, "tie_word_embeddings": False}),
        downsample_ratio=values.get("downsample_ratio", 0.5),
        # The head is kept apart from the embedding table, as in the released checkpoints.
        tie_word_embeddings=False,
    )


def backbone_values(name: str) -> dict[str, Any]:
    """Read a backbone configuration: packaged name, local folder, or hub name.

    Raises:
        FileNotFoundError: If it is none of them; the message lists the packaged ones.
    """
    packaged, folder = PACKAGED / f"{name}.json", Path(name) / "config.json"
    for path in (packaged, folder):
        if path.is_file():
            return json.loads(path.read_text())
    if "/" in name and not name.startswith((".", "/")):
        from huggingface_hub import hf_hub_download

        return json.loads(Path(hf_hub_download(name, "config.json")).read_text())
    known = sorted(path.stem for path in PACKAGED.glob("*.json"))
    raise FileNotFoundError(f"no backbone {name!r}: expected one of {known}, a folder with config.json, or a hub name")


def override(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Replace sizes of a backbone configuration, for example ``{"vision": {"num_hidden_layers": 2}}``.

    Raises:
        ValueError: For a section other than ``vision`` and ``text``.
    """
    result = dict(values)
    sections = {"vision": ("vision_config",), "text": ("llm_config", "text_config")}
    for section, changes in overrides.items():
        if section not in sections:
            raise ValueError(f"model.overrides has sections {sorted(sections)}; got {section!r}")
        key = next(name for name in sections[section] if name in result)
        result[key] = {**result[key], **changes}
    return result


def scatter_positions(backbone: InternVLBackbone) -> None:
    """Give the vision tower's class token and position table small random values; transformers leaves them at zero,
    which learns slowly from scratch."""
    embeddings = backbone.vlm.model.vision_tower.embeddings
    for parameter in (embeddings.cls_token, embeddings.position_embeddings):
        nn.init.normal_(parameter, std=0.02)


def add_lora(backbone: Backbone, settings: LoraSettings) -> None:
    """Freeze the language model and put adapters on its linear layers (PEFT, in place)."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone.embedding().requires_grad_(False)
    backbone.output_layer().requires_grad_(False)
    decoder = backbone.decoder()
    decoder.requires_grad_(False)
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(LANGUAGE_LAYERS),
        bias="none",
    )
    inject_adapter_in_model(adapters, decoder)
