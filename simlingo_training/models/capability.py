"""The generation of a GPU, by NVIDIA's compute capability."""

from __future__ import annotations

Capability = tuple[int, int]
"""Major and minor number: (9, 0) is Hopper."""


def too_old(found: Capability, least: Capability, needing: str) -> str | None:
    """Why a GPU is too old for what needs a capability of at least ``least``; None if it is not.

    ``needing`` says who needs it, as in "the kernels need".
    """
    if found >= least:
        return None
    has, needs = (".".join(map(str, pair)) for pair in (found, least))
    return f"the GPU has compute capability {has}, and {needing} {needs}"
