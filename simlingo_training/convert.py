"""Turn released checkpoints into checkpoint directories and back, and merge adapters.

    python -m simlingo_training.convert import --weights pytorch_model.pt --hydra .hydra/config.yaml \\
        --backbone internvl2_1b --tokenizer OpenGVLab/InternVL2-1B --out checkpoints/released
    python -m simlingo_training.convert export --checkpoint checkpoints/released --out pytorch_model.pt
    python -m simlingo_training.convert merge --checkpoint checkpoints/released --out checkpoints/merged

``--weights`` may be the consolidated file, a safetensors file with the same names, or a DeepSpeed checkpoint directory (then
the half-precision weights in ``checkpoint/mp_rank_00_model_states.pt`` are taken). Nothing in a file is executed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from driving.files import atomic_writer
from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data.images import TileSpec
from simlingo_training.inference.decoder import merged_weight
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.backbone import InternVLBackbone, backbone_values
from simlingo_training.models.checkpoint import Checkpoint, CheckpointError, read_released
from simlingo_training.models.released import from_released, to_released, without_adapters


def settings_from_hydra(values: dict[str, Any], backbone: str, tokenizer: str) -> tuple[ModelSettings, bool]:
    """Architecture, and whether the bonnet was cut off, from a released run's ``.hydra/config.yaml``.

    Raises:
        CheckpointError: If a key is missing or asks for something this model does not have.
    """
    try:
        model = values["model"]
        language = model["language_model"]
        base = values["data_module"]["base_dataset"]
        if model["speed_wps_mode"] != "2d":
            raise CheckpointError(f"only speed_wps_mode 2d is supported, the run has {model['speed_wps_mode']!r}")
        lora = LoraSettings(language["lora"], language["lora_r"], language["lora_alpha"], language["lora_dropout"])
        cut = bool(base["cut_bottom_quarter"]) or bool(base.get("img_shift_augmentation", True))
        settings = ModelSettings(
            backbone=backbone,
            tokenizer=tokenizer,
            lora=lora,
            path_queries=bool(model["predict_route_as_wps"]),
            tiles=tiles_of(backbone, bool(values["data_module"].get("use_global_img", False))),
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"the run's configuration lacks a key or value ({error}); is it .hydra/config.yaml of a run?"
        ) from error
    return settings, cut


def read_hydra(path: Path) -> dict[str, Any]:
    """A released run's ``.hydra/config.yaml``.

    Raises:
        CheckpointError: If it is missing or is not a YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: expected the run's .hydra/config.yaml: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected the run's .hydra/config.yaml, got {type(values).__name__}")
    return values


def tiles_of(backbone: str, thumbnail: bool = False) -> TileSpec:
    """Tiling that fits a backbone."""
    size = backbone_values(backbone)["vision_config"]["image_size"]
    return TileSpec(size if isinstance(size, int) else size[0], thumbnail=thumbnail)


def import_released(
    weights: Path, hydra: Path | None, backbone: str, tokenizer: str, rank: int, alpha: int
) -> Checkpoint:
    """Build a model and fill it with released weights.

    Args:
        weights: See `read_released`.
        hydra: The run's configuration; None takes ``rank`` and ``alpha`` and the published defaults.
        backbone, tokenizer: As in `ModelSettings`.
        rank, alpha: Adapters when there is no configuration.

    Raises:
        CheckpointError: If anything is missing or does not fit; names what.
    """
    released = read_released(weights)
    cut = True
    settings = ModelSettings(
        backbone, tokenizer=tokenizer, lora=LoraSettings(True, rank, alpha), tiles=tiles_of(backbone)
    )
    if hydra is not None:
        settings, cut = settings_from_hydra(read_hydra(hydra), backbone, tokenizer)
    checkpoint = checkpoints.build(settings)
    tensors = {name: tensor.float() for name, tensor in from_released(released).items()}
    checkpoints.load_weights(checkpoint.model, tensors, str(weights))
    checkpoint.cut_bonnet = cut
    checkpoint.meta = {"imported_from": weights.name}
    return checkpoint


def export_released(checkpoint: Checkpoint, target: Path) -> None:
    """Write a ``pytorch_model.pt`` with published names and types: trained tensors float32, frozen ones float16.

    Raises:
        CheckpointError: For a model that the published code does not have, with which its weights would drive otherwise.
    """
    settings = checkpoint.settings
    own = [name for name in ("straight_prior", "numbers_in_queries") if getattr(settings, name)]
    if own or not isinstance(checkpoint.model.backbone, InternVLBackbone):
        what = " and ".join(f"model.{name}=true" for name in own) or "another backbone than InternVL"
        raise CheckpointError(f"the published code has no model with {what}; only models without can be exported")
    trained = {name for name, parameter in checkpoint.model.named_parameters() if parameter.requires_grad}
    tensors = {
        name: tensor.float() if name in trained else tensor.half()
        for name, tensor in checkpoint.model.state_dict().items()
    }
    released = to_released(tensors)
    with atomic_writer(target) as stream:
        torch.save(released if settings.lora.enabled else without_adapters(released), stream)


def merge(checkpoint: Checkpoint) -> Checkpoint:
    """The same model with its adapters added to the weights they adapt."""
    settings = replace(checkpoint.settings, lora=replace(checkpoint.settings.lora, enabled=False))
    merged = checkpoints.build(settings)
    tensors = {}
    for name, tensor in checkpoint.model.state_dict().items():
        if "lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            module = checkpoint.model.get_submodule(name.removesuffix(".base_layer.weight"))
            tensors[name.replace(".base_layer", "")] = merged_weight(module)
        else:
            tensors[name.replace(".base_layer", "")] = tensor
    checkpoints.load_weights(merged.model, tensors, "merged weights")
    merged.cut_bonnet, merged.meta = checkpoint.cut_bonnet, checkpoint.meta
    return merged


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simlingo_training.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    importer = commands.add_parser("import", help="released weights to a checkpoint directory")
    importer.add_argument("--weights", type=Path, required=True)
    importer.add_argument("--hydra", type=Path, help="the run's .hydra/config.yaml")
    importer.add_argument("--backbone", default="internvl2_1b")
    importer.add_argument(
        "--tokenizer", default="OpenGVLab/InternVL2-1B", help="folder with tokenizer.json or hub name"
    )
    importer.add_argument("--rank", type=int, default=32, help="adapter rank, without --hydra")
    importer.add_argument("--alpha", type=int, default=64, help="adapter alpha, without --hydra")
    for name, text in (
        ("export", "a checkpoint directory to released weights"),
        ("merge", "add adapters to the weights"),
    ):
        commands.add_parser(name, help=text).add_argument("--checkpoint", type=Path, required=True)
    for command in commands.choices.values():
        command.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Convert; ends with status 2 and one message when something does not fit."""
    arguments = parse()
    try:
        if arguments.command == "import":
            made = import_released(
                arguments.weights,
                arguments.hydra,
                arguments.backbone,
                arguments.tokenizer,
                arguments.rank,
                arguments.alpha,
            )
            made.save(arguments.out)
        elif arguments.command == "export":
            export_released(checkpoints.load(arguments.checkpoint), arguments.out)
        else:
            merge(checkpoints.load(arguments.checkpoint)).save(arguments.out)
    except (ValueError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
