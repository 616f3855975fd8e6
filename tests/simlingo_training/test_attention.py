"""The choice of the attention kernel. FlashAttention 4 runs on GPUs only; a plain computation takes the place of its package."""

import copy
import sys
from types import ModuleType

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager_decomp_partition
from torch.nn import functional

from simlingo_training.benchmark import parse
from simlingo_training.config import LoraSettings, TrainerSettings
from simlingo_training.models import attention
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.fused import fuse
from tests.simlingo_training.test_backbones import shake
from tests.simlingo_training.test_training import small_model


class Package:
    """The two functions of ``flash_attn.cute.interface`` in plain arithmetic, and a count of their calls."""

    def __init__(self):
        self.calls = []

    def forward(self, query, key, value, return_lse=False):
        assert return_lse
        self.note("forward", query, key, value)
        scores = torch.einsum("bnhs,bmhs->bhnm", query, key).float() * query.shape[-1] ** -0.5
        sums = scores.logsumexp(-1)
        mixed = torch.einsum("bhnm,bmhs->bnhs", (scores - sums[..., None]).exp().to(value.dtype), value)
        return mixed.contiguous(), sums, None, None, None

    def backward(self, query, key, value, out, dout, lse, *, deterministic, dq, dk, dv):
        self.note("backward", query, key, value, out, dout)
        scale = query.shape[-1] ** -0.5
        shares = (torch.einsum("bnhs,bmhs->bhnm", query, key).float() * scale - lse[..., None]).exp().to(query.dtype)
        to_shares = torch.einsum("bnhs,bmhs->bhnm", dout, value)
        to_scores = scale * shares * (to_shares - (dout * out).sum(-1).transpose(1, 2)[..., None])
        dv.copy_(torch.einsum("bhnm,bnhs->bmhs", shares, dout))
        dq.copy_(torch.einsum("bhnm,bmhs->bnhs", to_scores, key))
        dk.copy_(torch.einsum("bhnm,bnhs->bmhs", to_scores, query))
        return dq, dk, dv

    def note(self, name, *tensors):
        assert all(tensor.is_contiguous() for tensor in tensors), "the package would copy its inputs"
        self.calls.append(name)


@pytest.fixture
def package(monkeypatch):
    fake = Package()
    interface = ModuleType("flash_attn.cute.interface")
    interface._flash_attn_fwd, interface._flash_attn_bwd = fake.forward, fake.backward
    folder = ModuleType("flash_attn.cute")
    folder.interface = interface
    for module in (ModuleType("flash_attn"), folder, interface):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(attention, "DEVICES", ("cpu",))
    return fake


@pytest.mark.parametrize("compiled", [False, True])
def test_results_and_gradients_are_those_of_torchs_attention(package, compiled):
    torch._dynamo.reset()
    torch.manual_seed(0)
    rows = [torch.randn(2, 9, 3, 8, requires_grad=True) for _ in range(3)]
    weight = torch.randn(2, 9, 3, 8)

    def by_flash4(query, key, value):
        return attention.flash4(query, key, value)[0] * 2

    call = torch.compile(by_flash4, backend="aot_eager", fullgraph=True) if compiled else by_flash4
    found = call(*rows)
    expected = 2 * functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in rows)).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), rows), torch.autograd.grad((expected * weight).sum(), rows)
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert package.calls == ["forward", "backward"]


@pytest.mark.parametrize("fused", [False, True])
def test_compiled_vision_layers_attend_once_without_copies(package, monkeypatch, fused):
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", aot_eager_decomp_partition)
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = checkpoints.build(small_model(lora=LoraSettings(enabled=False))).model.train().backbone.bfloat16()
    shake(plain)
    backbone = copy.deepcopy(plain)
    attention.prefer_flash4(backbone.vision_modules()[0])
    if fused:
        fuse(backbone, False)
    backbone.compile_layers(1.0, recompute_pointwise=fused, keep_activations=fused)
    pixels = torch.randn(2, 3, 192, 192, dtype=torch.bfloat16)
    gradients = []
    for one in (plain, backbone):
        tower = one.vision_modules()[0]
        tower(pixels).last_hidden_state.float().square().sum().backward()
        gradients.append(torch.cat([p.grad.float().flatten() for p in tower.parameters() if p.grad is not None]))
    assert package.calls == ["forward", "backward"]
    expected, found = gradients
    assert (found - expected).norm() < 0.01 * expected.norm()


def test_what_flash4_cannot_take_goes_to_torchs_kernels(package):
    module = torch.nn.Module()
    query, key, value = (torch.randn(1, 2, 5, 8, dtype=torch.bfloat16) for _ in range(3))
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.bfloat16)
    mask[..., 3:] = -torch.inf
    cases = [
        (query.float(), key.float(), value.float(), None, {}),
        (query, key[:, :, :4], value[:, :, :4], None, {}),
        (query[..., :6], key[..., :6], value[..., :6], None, {}),
        (query, key, value, mask, {}),
        (query, key, value, None, {"is_causal": True}),
        (query, key, value, None, {"scaling": 1.0}),
    ]
    for *parts, bias, changes in cases:
        options = {"is_causal": False, **changes}
        found, _ = attention.tower_attention(module, *parts, bias, **options)
        scale = {"scale": options.pop("scaling", None)}
        expected = functional.scaled_dot_product_attention(*parts, attn_mask=bias, **options, **scale)
        torch.testing.assert_close(found, expected.transpose(1, 2))
    assert not package.calls
    rows = (part.transpose(1, 2).contiguous().transpose(1, 2) for part in (query, key, value))
    attention.tower_attention(module, *rows, None, is_causal=False)
    assert package.calls == ["forward"]


def test_a_cpu_and_other_modules_need_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    parts = [torch.randn(1, 2, 5, 8, dtype=torch.bfloat16) for _ in range(3)]
    torch.testing.assert_close(attention.attend(*parts, True), functional.scaled_dot_product_attention(*parts))


def test_without_the_package_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    tower = checkpoints.build(small_model()).model.backbone.vision_modules()[0]
    with pytest.raises(ModuleNotFoundError, match="pip install flash-attn-4"):
        attention.prefer_flash4(tower)


def test_a_gpu_that_is_too_old_is_refused(package, monkeypatch):
    tower = checkpoints.build(small_model()).model.backbone.vision_modules()[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    with pytest.raises(ValueError, match=r"the GPU has compute capability 8\.9, and it needs 9\.0 or later"):
        attention.prefer_flash4(tower)
    assert not attention.is_flash4_preferred(tower)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    attention.prefer_flash4(tower)
    assert attention.is_flash4_preferred(tower)


def test_every_kernel_can_be_asked_for(monkeypatch):
    for name in attention.KERNELS:
        assert TrainerSettings(attention_kernel=name).attention_kernel == name
        with attention.attention_kernel(name):
            assert torch.randn(3).sum().isfinite()
    flags = "train --compile --fused --recompute-pointwise --keep-activations --shared-dropout --kernel flash4"
    monkeypatch.setattr(sys, "argv", ["benchmark", *flags.split()])
    assert parse().kernel == attention.FLASH4
