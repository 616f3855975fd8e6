"""Training with bfloat16 weights: the optimiser keeps float32 masters, as DeepSpeed's half-precision training does."""

from __future__ import annotations

from typing import Any

import torch


class MasterWeights(torch.optim.Optimizer):
    """An optimiser on float32 copies of narrow parameters.

    Gradients are widened, the inner optimiser moves the copies, and the parameters get the rounded result, so that steps
    smaller than a narrow number's resolution add up. Parameters that are float32 already are moved in place.
    """

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        """Take over the parameters of ``inner``, an optimiser that has made no step yet."""
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._factor: torch.Tensor | None = None
        groups = []
        for group in inner.param_groups:
            groups.append({**group, "params": list(group["params"])})
            group["params"] = [self._master(parameter) for parameter in group["params"]]
        self.inner = inner
        super().__init__(groups, {})

    def _master(self, parameter: torch.Tensor) -> torch.Tensor:
        if parameter.dtype == torch.float32:
            return parameter
        master = parameter.detach().float().clone().requires_grad_(True)
        self._pairs.append((parameter, master))
        return master

    @torch.no_grad()
    def clip(self, largest_norm: float) -> torch.Tensor:
        """Bound the norm of the gradients of the next step and return what it was, as ``clip_grad_norm_`` does.

        The factor is applied to the widened gradients: narrow ones would be rounded once more, in a kernel each.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).norm()
        self._factor = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the copies by the inner optimiser, then the parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for outer, group in zip(self.param_groups, self.inner.param_groups):
            group.update({key: value for key, value in outer.items() if key != "params"})
        found = [(parameter.grad, master) for parameter, master in self._pairs if parameter.grad is not None]
        if found:
            # One kernel for hundreds of small gradients.
            wide = [torch.empty_like(master) for _, master in found]
            torch._foreach_copy_(wide, [gradient for gradient, _ in found])
            for (_, master), gradient in zip(found, wide):
                master.grad = gradient
        if self._factor is not None:
            used = [parameter for group in self.inner.param_groups for parameter in group["params"]]
            torch._foreach_mul_([p.grad for p in used if p.grad is not None], self._factor)
            self._factor = None
        self.inner.step()
        for _, master in self._pairs:
            master.grad = None
        if self._pairs:
            torch._foreach_copy_([parameter for parameter, _ in self._pairs], [master for _, master in self._pairs])
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of the inner optimiser and the masters."""
        return {"inner": self.inner.state_dict(), "masters": [master for _, master in self._pairs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.inner.load_state_dict(state_dict["inner"])
        for (parameter, master), stored in zip(self._pairs, state_dict["masters"]):
            master.data.copy_(stored)
            parameter.data.copy_(stored)


def clip_gradients(optimizer: torch.optim.Optimizer, largest_norm: float) -> torch.Tensor:
    """Bound the norm of the gradients that the next step of an optimiser uses; returns what it was."""
    if isinstance(optimizer, MasterWeights):
        return optimizer.clip(largest_norm)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, largest_norm, foreach=True)
