"""The kernel that makes sentences, compiled for the CPU, against the plain loop. Every thread of it runs."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from simlingo_training.inference import sentence
from simlingo_training.inference.decoder import CachedDecoder
from simlingo_training.inference.sentence import SentenceKernel
from tests.simlingo_training.decoders import Sizes, language_model

VOCABULARY, WIDTH, PROMPT = 61, 96, 9
SIZES = Sizes(VOCABULARY, WIDTH, inner=208, layers=2, heads=4, groups=2, head_size=64)

MAIN = """
#include "gpu_on_cpu.h"
#include "sentence.cu"
extern "C" void launch(void **pointers, int end_token, int layer_step, long shared_bytes) {
    static_assert(sizeof(Shared) > SLOTS * SLOT);
    if (long(sizeof(Shared)) > shared_bytes) std::abort();
    run_grid(GRID, THREADS + 32, shared_bytes, [=] {
        call(pointers, end_token, layer_step);
    });
}
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def call_of(source: str) -> str:
    """A function that hands an array of pointers to the kernel, made from its declaration."""
    declared = source.split("sentence(", 1)[1].split(")", 1)[0].split(",")
    pointers = [part.strip().rsplit("*", 1)[0] + "*" for part in declared if "*" in part]
    given = ", ".join(f"({kind})pointers[{number}]" for number, kind in enumerate(pointers))
    return f"static void call(void **pointers, int t, int s) {{ sentence({given}, t, s); }}\n"


def compile_for_cpu(folder: Path):
    """See `sentence.compile_for_gpu`."""

    def compile_kernel(macros: Mapping[str, int], shared_bytes: int):
        source = sentence.SOURCE.read_text()
        top, bottom = MAIN.split('#include "sentence.cu"\n')
        (folder / "main.cpp").write_text(f'{top}#include "sentence.cu"\n{call_of(source)}{bottom}')
        defined = [f"-D{name}={value}" for name, value in macros.items()]
        places = [f"-I{Path(__file__).parent}", f"-I{sentence.SOURCE.parent}"]
        command = ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", *defined, *places]
        subprocess.run([*command, str(folder / "main.cpp"), "-o", str(folder / "kernel.so")], check=True)
        library = ctypes.CDLL(str(folder / "kernel.so"))

        def launch(arguments: Sequence[torch.Tensor | int]) -> None:
            tensors = [part for part in arguments if isinstance(part, torch.Tensor)]
            end_token, step = arguments[len(tensors) :]
            pointers = (ctypes.c_void_p * len(tensors))(*(part.data_ptr() for part in tensors))
            library.launch(pointers, int(end_token), int(step), ctypes.c_long(shared_bytes))

        return launch

    return compile_kernel


def test_weights_move_once() -> None:
    """A second kernel for the same decoder leaves recorded passes what they read."""
    decoder = CachedDecoder(language_model(SIZES, 6, 4), torch.randn(VOCABULARY, WIDTH))
    stacks = decoder.stack()
    assert decoder.stack() is stacks
    for number, layer in enumerate(decoder.layers):
        assert layer.qkv.data_ptr() == stacks.qkv[number].data_ptr()
        assert layer.down.data_ptr() == stacks.down[number].data_ptr()


@torch.inference_mode()
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_sentence_is_that_of_the_plain_loop(kind, tmp_path, monkeypatch) -> None:
    """Nine blocks of two multiplying warps, heads shared by two of them, slots that hold two long rows."""
    monkeypatch.setattr(sentence, "WARPS", 2)
    monkeypatch.setattr(sentence, "SPLITS", 2)
    monkeypatch.setattr(sentence, "SLOTS", 3)
    monkeypatch.setattr(sentence, "SLOT_BYTES", 2 * 208 * kind.itemsize // 128 * 128 + 128)
    torch.manual_seed(0)
    model, output = language_model(SIZES, 6, 4).to(kind), torch.randn(VOCABULARY, WIDTH).to(kind)
    decoder = CachedDecoder(model, output)
    decoder.reserve(2, 64)
    prompt = torch.randn(2, PROMPT, WIDTH).to(kind)
    decoder.forward(prompt, [0, 0])
    expected, token = [], 5
    plain = CachedDecoder(model, output)
    plain.reserve(1, 64)
    plain.forward(prompt[1:], [0])
    for number in range(8):
        token = plain.next_token(0, token, PROMPT + number)
        expected.append(token)
    assert len(set(expected)) > 3
    end = next(number for number in range(4, 8) if expected[number] not in expected[:number])
    kernel = SentenceKernel(decoder, 30, expected[end], blocks=9, compile_kernel=compile_for_cpu(tmp_path))
    for most in (30, 3, 0):
        wanted = expected[: min(most, end + 1)]
        kernel.start.copy_(torch.tensor([5, PROMPT, most]))
        kernel.launch(1)
        assert kernel.said[: 1 + len(wanted)].tolist() == [len(wanted), *wanted]
    for own, other in zip(decoder.cache(1), plain.cache(0)):
        written = slice(0, PROMPT + end)
        tolerance = 1e-4 if kind == torch.float32 else 0.1
        torch.testing.assert_close(own[:, :, written], other[:, :, written], atol=tolerance, rtol=tolerance)
