"""Dividing a model among devices (FSDP2), and putting it together again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

OWN_PRECISION = ("path_head", "speed_head", "point_encoder", "query_numbers")
"""Parts of a model that compute in float32 whatever the backbone does."""


def shard(model: nn.Module, mesh: DeviceMesh, narrow: bool) -> None:
    """Divide parameters, gradients and optimiser state among the devices of a mesh, in place, layer by layer.

    Args:
        model: A network whose layers are transformers'.
        mesh: One-dimensional.
        narrow: Compute in bfloat16 on float32 parameters; gradients are added up in float32.
    """
    exact = MixedPrecisionPolicy()
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if narrow else exact
    for name, part in list(model.named_modules()):
        if name.rpartition(".")[2] in OWN_PRECISION:
            fully_shard(part, mesh=mesh, mp_policy=exact)
    for layer in [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def whole_tensors(model: nn.Module) -> dict[str, Any] | None:
    """All weights on the CPU of the first process, gathered from all devices; None where nothing is divided. Every process
    must call it."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return None
    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
