"""The GPU's kernels in Triton's interpreter, against PyTorch. Triton comes with CUDA builds of torch only."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch.nn import functional

os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton")

from simlingo_training.config import ModelSettings
from simlingo_training.data.images import TileSpec, tile_image
from simlingo_training.inference import kernels
from simlingo_training.inference.decoder import CachedDecoder
from simlingo_training.inference.fused import FusedDecoder, FusedVision
from simlingo_training.inference.vision import FastVision
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.pixels import normalise_tiles
from tests.simlingo_training.decoders import Sizes, language_model

VOCABULARY, WIDTH = 301, 192
SIZES = Sizes(VOCABULARY, WIDTH, inner=320, layers=3, heads=6, groups=2)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@torch.inference_mode()
def test_passes_are_those_of_the_plain_decoder() -> None:
    """A prompt, then more tokens behind it, with padding in the last place."""
    model, output = language_model(SIZES, 1, 20), torch.randn(VOCABULARY, WIDTH)
    plain, fused = CachedDecoder(model, output), FusedDecoder(model, output)
    for start, new in ((0, 40), (37, 9)):
        inputs = torch.randn(2, new, WIDTH)
        positions = start + torch.arange(new)[None].repeat(2, 1)
        positions[1, -3:] = 95
        for decoder in (plain, fused):
            decoder.reserve(2, 96)
        expected, found = (decoder.run(inputs.clone(), positions, 96) for decoder in (plain, fused))
        torch.testing.assert_close(found[0], expected[0], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found[1, :-3], expected[1, :-3], atol=2e-5, rtol=1e-4)
        wanted = torch.tensor([[0, 4, new - 1], [2, 3, new - 5]])
        found = fused.run(inputs.clone(), positions, 96, wanted)
        torch.testing.assert_close(found, expected[torch.arange(2)[:, None], wanted], atol=2e-5, rtol=1e-4)


def test_inputs_are_looked_up() -> None:
    """Tokens, target points and queries, and visual tokens; behind the prompt there are none."""
    model, output = language_model(SIZES, 1, 20), torch.randn(VOCABULARY, WIDTH)
    plain, fused = CachedDecoder(model, output), FusedDecoder(model, output)
    codes, numbers = torch.tensor([[5, -1, -4, 0, -9], [-5, -3, 300, 10**6, -6]]), torch.randn(2, 4, WIDTH)
    features = torch.randn(2, 5, WIDTH)
    assert (plain.look_up(codes, numbers, features)[0, 2] == numbers[0, 3]).all()
    for known, seen in ((codes, features), (codes.clamp(min=-4), features[:, :0])):
        arguments = known, numbers, seen
        torch.testing.assert_close(fused.look_up(*arguments), plain.look_up(*arguments), atol=0, rtol=0)


def test_layer_norm_adds_and_scales_first() -> None:
    norm = torch.nn.LayerNorm(WIDTH).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    hidden, change, scale = torch.randn(5, WIDTH), torch.randn(5, WIDTH), torch.randn(WIDTH)
    expected = hidden + scale * change
    found = kernels.add_layer_norm(hidden, change, scale, norm)
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(found, norm(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("places", [129, 150])
def test_attention_within_tiles(places: int) -> None:
    heads, size = 2, 32
    joined = torch.randn(2, places, 3 * heads * size)
    query, key, value = joined.view(2, places, 3, heads, size).permute(2, 0, 3, 1, 4)
    expected = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(kernels.attend_tiles(joined, heads), expected, atol=1e-5, rtol=1e-5)


def test_pictures_become_the_same_tiles_and_patches() -> None:
    """Bit for bit the loader's tiles, and what a convolution makes of them."""
    image = np.random.default_rng(0).integers(0, 256, (37, 96, 3), dtype=np.uint8)
    spec = TileSpec(48)
    tiles = kernels.resize_tiles(torch.from_numpy(image)[None], spec)
    np.testing.assert_array_equal(tiles[0].numpy(), tile_image(image, spec))
    weight = torch.randn(5, 3, 8, 8)
    expected = functional.conv2d(normalise_tiles(tiles[0]), weight, stride=8).flatten(2).transpose(1, 2)
    patches = kernels.cut_patches(tiles[0], 8, 200, torch.float32)
    assert (patches[:, 192:] == 0).all()
    found = patches[:, :192] @ weight.permute(0, 2, 3, 1).flatten(1).T
    torch.testing.assert_close(found, expected.flatten(0, 1), atol=1e-4, rtol=1e-4)


def test_gates() -> None:
    both = torch.randn(3, 640)
    gate, up = both.chunk(2, -1)
    torch.testing.assert_close(kernels.gate(both), functional.silu(gate) * up)


@torch.inference_mode()
def test_the_vision_tower_is_the_plain_one() -> None:
    settings = ModelSettings("tiny", tiles=TileSpec(192), overrides={"vision": {"num_attention_heads": 3}})
    backbone = checkpoints.build(settings).model.eval().backbone
    assert FusedVision.supports(backbone)
    tiles = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1, 192, 192, 3), dtype=np.uint8))
    expected, found = (kind(backbone).encode(tiles) for kind in (FastVision, FusedVision))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
