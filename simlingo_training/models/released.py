"""Key names of released checkpoints and of this package's, both ways.

A released checkpoint is a flat dictionary: InternVL's original module names under prefixes of the training code, PEFT's
adapter names, and aliases of shared tensors (model card ``RenzKa/simlingo``). Backbone weights in InternVL's original
layout (``OpenGVLab/InternVL2-1B``) have the same names under other prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from simlingo_training.models.languages import is_repacked, to_llama

Tensors = Mapping[str, torch.Tensor]

VISION_PREFIX = "vision_model.image_encoder.model."
PLAIN_PREFIX = "language_model.model."
LANGUAGE_PREFIX = f"{PLAIN_PREFIX}base_model.model."
"""Of the decoder in a run with adapters, which wrap it; in a run without them it has `PLAIN_PREFIX`."""

ALIASES = {
    f"{LANGUAGE_PREFIX}embed_tokens.weight": f"{LANGUAGE_PREFIX}model.embed_tokens.weight",
    "adaptors.language.embed_tokens.weight": f"{LANGUAGE_PREFIX}model.embed_tokens.weight",
    "adaptors.language.lm_head.weight": f"{LANGUAGE_PREFIX}lm_head.weight",
}
"""Second names of shared tensors in a released checkpoint."""

VISION_RENAMES = (
    (r"embeddings\.class_embedding", "embeddings.cls_token"),
    (r"embeddings\.patch_embedding\.(weight|bias)", r"embeddings.patch_embeddings.projection.\1"),
    (r"embeddings\.position_embedding", "embeddings.position_embeddings"),
    (r"encoder\.layers\.(\d+)\.ls([12])", r"encoder.layer.\1.lambda_\2"),
    (r"encoder\.layers\.(\d+)\.attn\.proj\.(weight|bias)", r"encoder.layer.\1.attention.projection_layer.\2"),
    (r"encoder\.layers\.(\d+)\.attn\.([qk])_norm\.weight", r"encoder.layer.\1.attention.\2_norm.weight"),
    (r"encoder\.layers\.(\d+)\.norm1\.(weight|bias)", r"encoder.layer.\1.layernorm_before.\2"),
    (r"encoder\.layers\.(\d+)\.norm2\.(weight|bias)", r"encoder.layer.\1.layernorm_after.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.(fc[12])\.(weight|bias)", r"encoder.layer.\1.mlp.\2.\3"),
)
"""Original name below ``vision_model.`` to transformers' name below ``vision_tower.``; the fused qkv is split apart."""

PROJECTOR_RENAMES = {"0": "layer_norm", "1": "linear_1", "3": "linear_2"}

ADAPTOR_RENAMES = {
    "adaptors.driving.query_embeds_wps": "heads.path_queries",
    "adaptors.driving.query_embeds_speed": "heads.speed_queries",
    "adaptors.driving.route_head.": "heads.path_head.",
    "adaptors.driving.speed_wps_head.": "heads.speed_head.",
    "wp_encoder.": "point_encoder.",
}

FUSED = re.compile(r"encoder\.layers\.(\d+)\.attn\.qkv\.(weight|bias)")


@dataclass(frozen=True)
class KeyReport:
    """Difference between a checkpoint and the model it should fit.

    Attributes:
        missing: Tensors of the model that the checkpoint lacks.
        unexpected: Tensors of the checkpoint that the model lacks.
        misshapen: ``name: shape here, shape there`` of tensors with different shapes.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.misshapen)

    def explain(self, source: str) -> str:
        """What differs, in words, with what it usually means."""
        lines = [f"{source} does not fit this model:"]
        for title, names in (("missing", self.missing), ("unexpected", self.unexpected), ("shape", self.misshapen)):
            if names:
                shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
                lines.append(f"  {len(names)} {title}: {shown}")
        lines.extend(f"  {hint}" for hint in self._hints())
        return "\n".join(lines)

    def _hints(self) -> Iterable[str]:
        if any("lora_" in name for name in self.missing):
            yield "adapters are missing: the file holds a merged or plain backbone; set model.lora.enabled=false"
        if any("lora_" in name for name in self.unexpected):
            yield "the file holds adapters but the model has none; set model.lora.enabled=true"
        if any("heads.path" in name for name in (*self.missing, *self.unexpected)):
            yield "path queries differ; check model.path_queries"
        if self.misshapen:
            yield "sizes differ: the file was made with another backbone, adapter rank or tile size; check the preset"
        if any(name.startswith("heads.") for name in self.missing) and not self.unexpected:
            yield "the driving heads are missing: this is a backbone without SimLingo's training"


def compare_keys(found: Tensors, wanted: Tensors) -> KeyReport:
    """Compare names and shapes of two sets of tensors."""
    missing = tuple(sorted(set(wanted) - set(found)))
    unexpected = tuple(sorted(set(found) - set(wanted)))
    misshapen = tuple(
        f"{name}: {tuple(found[name].shape)} in the file, {tuple(wanted[name].shape)} in the model"
        for name in sorted(set(found) & set(wanted))
        if found[name].shape != wanted[name].shape
    )
    return KeyReport(missing, unexpected, misshapen)


def from_released(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Rename a released SimLingo checkpoint to this package's names, splitting fused projections; aliases are dropped.

    Unknown names are kept as they are, so that a later comparison reports them.
    """
    result: dict[str, torch.Tensor] = {}
    for released, tensor in tensors.items():
        name = released
        if name.startswith(PLAIN_PREFIX) and not name.startswith(LANGUAGE_PREFIX):
            name = LANGUAGE_PREFIX + name.removeprefix(PLAIN_PREFIX)
        if name in ALIASES:
            continue
        if name.startswith(VISION_PREFIX):
            result.update(_vision_from_original(name.removeprefix(VISION_PREFIX), tensor))
        elif name.startswith(LANGUAGE_PREFIX):
            result[_language_from_original(name.removeprefix(LANGUAGE_PREFIX))] = tensor
        else:
            result[_rename_prefix(name, ADAPTOR_RENAMES)] = tensor
    return result


def from_original_backbone(tensors: Tensors, text: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Rename backbone weights in InternVL's original layout to names below ``backbone.`` of this package; ``text`` is the
    configuration of the decoder, whose matrices may be packed in another way."""
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("language_model."):
            inner = name.removeprefix("language_model.")
            plain = to_llama(inner, tensor, text) if is_repacked(text) else {inner: tensor}
            result.update({_language_from_original(part): value for part, value in plain.items()})
        else:
            result.update(_vision_from_original(name, tensor))
    return result


def to_released(tensors: Tensors, with_aliases: bool = True) -> dict[str, torch.Tensor]:
    """Undo `from_released`."""
    result: dict[str, torch.Tensor] = {}
    back = {new: old for old, new in ADAPTOR_RENAMES.items()}
    for name, tensor in tensors.items():
        if name.startswith("backbone.vlm.model.vision_tower."):
            result.update(_vision_to_original(name.removeprefix("backbone.vlm.model.vision_tower."), tensor, tensors))
        elif name.startswith("backbone.vlm.model.multi_modal_projector."):
            part, rest = name.removeprefix("backbone.vlm.model.multi_modal_projector.").split(".", 1)
            number = next(key for key, value in PROJECTOR_RENAMES.items() if value == part)
            result[f"{VISION_PREFIX}mlp1.{number}.{rest}"] = tensor
        elif name.startswith("backbone.vlm.model.language_model."):
            result[f"{LANGUAGE_PREFIX}model." + name.removeprefix("backbone.vlm.model.language_model.")] = tensor
        elif name == "backbone.vlm.lm_head.weight":
            result[f"{LANGUAGE_PREFIX}lm_head.weight"] = tensor
        else:
            result[_rename_prefix(name, back)] = tensor
    if with_aliases:
        result.update({alias: result[name] for alias, name in ALIASES.items() if name in result})
    return result


def without_adapters(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Names of `to_released` as a published run without adapters has them."""
    return {
        PLAIN_PREFIX + name.removeprefix(LANGUAGE_PREFIX) if name.startswith(LANGUAGE_PREFIX) else name: tensor
        for name, tensor in tensors.items()
    }


def _rename_prefix(name: str, renames: Mapping[str, str]) -> str:
    for old, new in renames.items():
        if name == old or (old.endswith(".") and name.startswith(old)):
            return new + name.removeprefix(old)
    return name


def _language_from_original(name: str) -> str:
    if name.startswith("model."):
        return "backbone.vlm.model.language_model." + name.removeprefix("model.")
    return f"backbone.vlm.{name}"


def _vision_from_original(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if name.startswith("mlp1."):
        _, number, rest = name.split(".", 2)
        part = PROJECTOR_RENAMES.get(number, number)
        return {f"backbone.vlm.model.multi_modal_projector.{part}.{rest}": tensor}
    inner = name.removeprefix("vision_model.")
    prefix = "backbone.vlm.model.vision_tower."
    fused = FUSED.fullmatch(inner)
    if fused:
        layer, kind = fused.groups()
        parts = zip("qkv", tensor.chunk(3))
        return {f"{prefix}encoder.layer.{layer}.attention.{p}_proj.{kind}": value for p, value in parts}
    for pattern, replacement in VISION_RENAMES:
        if re.fullmatch(pattern, inner):
            return {prefix + re.sub(pattern, replacement, inner): tensor}
    return {name: tensor}


def _vision_to_original(name: str, tensor: torch.Tensor, tensors: Tensors) -> dict[str, torch.Tensor]:
    prefix = f"{VISION_PREFIX}vision_model."
    part = re.fullmatch(r"encoder\.layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)", name)
    if part:
        layer, letter, kind = part.groups()
        if letter != "q":
            return {}
        stem = f"backbone.vlm.model.vision_tower.encoder.layer.{layer}.attention."
        fused = torch.cat([tensors[f"{stem}{p}_proj.{kind}"] for p in "qkv"])
        return {f"{prefix}encoder.layers.{layer}.attn.qkv.{kind}": fused}
    for pattern, replacement in _inverse_vision_renames():
        if re.fullmatch(pattern, name):
            return {prefix + re.sub(pattern, replacement, name): tensor}
    return {name: tensor}


def _inverse_vision_renames() -> Iterable[tuple[str, str]]:
    """The table read from right to left: groups of the pattern become references and the other way round."""
    for pattern, replacement in VISION_RENAMES:
        groups = re.findall(r"\([^)]*\)", pattern)
        new_pattern = re.escape(replacement).replace(r"\\", "\\")
        new_replacement = pattern.replace("\\.", ".")
        for number, group in enumerate(groups, start=1):
            new_pattern = new_pattern.replace(f"\\{number}", group, 1)
            new_replacement = new_replacement.replace(group, f"\\{number}", 1)
        yield new_pattern, new_replacement
