"""Other backbones, other packings of decoders, and the fused way to compute layers: against transformers and the plain way."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch._dynamo.backends.debugging import aot_eager_decomp_partition
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data import prompts
from simlingo_training.data.images import TileSpec
from simlingo_training.inference import Observation, Policy
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.families import FAMILIES, build_backbone
from simlingo_training.models.fused import fuse, gelu, hashed_dropout
from simlingo_training.models.languages import llama_values, to_llama
from simlingo_training.models.losses import loss_terms, token_losses
from simlingo_training.models.pixels import normalise_tiles
from simlingo_training.models.pretrained import load_backbone
from simlingo_training.models.smolvlm import SIGLIP_MEAN
from tests.simlingo_training.test_training import SMALL, small_model

LORA = LoraSettings(rank=4, alpha=8, dropout=0.0)


def smolvlm(**changes):
    values = {"backbone": "tiny_smolvlm", "tiles": TileSpec(192), "lora": LORA, "max_new_tokens": 8}
    return ModelSettings(**{**values, **changes})


def shake(model):
    """Adapters and biases begin without effect; give them one."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lambda_" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)


def batch_for(checkpoint, size=3):
    from simlingo_training.benchmark import synthetic_batch

    return synthetic_batch(checkpoint, size, 0, 1)


def loss_of(model, batch):
    return torch.stack(list(loss_terms(model(batch.inputs), batch).values())).sum()


def gradients(model, batch):
    model.zero_grad(set_to_none=True)
    loss = loss_of(model, batch)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


# --- another family


def test_smolvlm_learns_speaks_and_drives(tmp_path):
    checkpoint = checkpoints.build(smolvlm())
    model = checkpoint.model.train()
    batch = batch_for(checkpoint)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    folder = checkpoints.save(checkpoint, tmp_path / "ck")
    policy = Policy.load(folder, device="cpu")
    prompt = prompts.commentary_prompt(4.0, prompts.points_sentence())
    observation = Observation(np.full((512, 1024, 3), 90, np.uint8), 4.0, np.array([[15.0, 0.0], [35.0, 1.0]]), prompt)
    said = policy.act(observation)
    assert said.path.shape == (20, 2)
    assert said.tokens == policy.act(observation).tokens
    assert said.tokens == Policy.load(folder, device="cpu", recorded=True).act(observation).tokens


def test_smolvlm_sees_what_transformers_sees():
    backbone = build_backbone(smolvlm()).eval()
    tiles = torch.randint(0, 256, (2, 2, 192, 192, 3), dtype=torch.uint8)
    pixels = normalise_tiles(tiles, torch.float32, SIGLIP_MEAN, SIGLIP_MEAN)
    with torch.no_grad():
        expected = backbone.vlm.model.get_image_features(pixel_values=pixels).pooler_output
        found = backbone.encode_tiles(tiles)
    torch.testing.assert_close(found, torch.stack(list(expected)))
    assert found.shape == (2, 2 * backbone.tokens_per_tile, backbone.width)


def test_smolvlm_weights_from_a_folder(tmp_path):
    plain = checkpoints.build(smolvlm(lora=LoraSettings(enabled=False))).model
    tensors = {n.removeprefix("backbone.vlm."): t for n, t in plain.state_dict().items() if n.startswith("backbone.")}
    del tensors["lm_head.weight"]
    save_file(tensors, str(tmp_path / "model.safetensors"))
    model = checkpoints.build(smolvlm()).model
    load_backbone(model, str(tmp_path))
    torch.testing.assert_close(model.backbone.output_layer().weight, plain.backbone.embedding().weight)


def test_tokenizers_of_both_families_mark_images_their_way():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    from simlingo_training.data.chat import ChatTokenizer

    bytes_only = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>")
    bytes_only.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    tokenizer = ChatTokenizer(bytes_only)
    row = tokenizer.row("Go.", 3, "Yes.")
    border, image = (bytes_only.token_to_id(mark) for mark in marks[3:])
    place = row.ids.index(border)
    assert row.ids[place : place + 5] == (border, image, image, image, border)
    assert tokenizer.decode(row.ids[row.prompt_length :]) == "Yes."


def test_unknown_families_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm2"}')
    with pytest.raises(ValueError, match="did you mean 'smolvlm'"):
        build_backbone(ModelSettings(backbone=str(tmp_path)))
    assert set(FAMILIES) >= {"internvl", "internvl_chat", "smolvlm"}


# --- decoders in another packing

TEXT = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


def as_llama(values, tensors):
    config = AutoConfig.for_model("llama", **llama_values(values), tie_word_embeddings=False)
    model = LlamaForCausalLM(config).eval()
    named = {}
    for name, tensor in tensors.items():
        named.update(to_llama(name, tensor, values))
    model.load_state_dict(named)
    return model


@pytest.mark.parametrize("scaling", [None, "longrope"])
def test_phi3_becomes_an_equal_llama(scaling):
    values = {**TEXT, "model_type": "phi3", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if scaling:
        factors = {"short_factor": [1.05, 1.1, 1.2, 1.3], "long_factor": [1.5, 2.0, 3.0, 4.0]}
        values |= {
            "rope_scaling": {"type": scaling, **factors},
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": 512,
        }
    torch.manual_seed(0)
    reference = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**copy.deepcopy(values), tie_word_embeddings=False)
    ).eval()
    ours = as_llama(values, reference.state_dict())
    ids = torch.randint(0, 96, (2, 40))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, reference(ids).logits)


def test_internlm2_becomes_an_equal_llama():
    """The joined projection holds, for each of the two key-value heads, three queries, a key and a value."""
    values = {**TEXT, "model_type": "internlm2", "rope_scaling": {"type": "dynamic", "factor": 2.0}, "bias": False}
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **TEXT, attention_bias=False, tie_word_embeddings=False)
    reference = LlamaForCausalLM(config).eval()
    packed = {}
    renames = {
        "model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "self_attn.o_proj": "attention.wo",
        "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3",
        "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    state = reference.state_dict()
    for name, tensor in state.items():
        if ".self_attn.q_proj." in name:
            query, key, value = (state[name.replace("q_proj", f"{p}_proj")].view(2, -1, 8, 48) for p in "qkv")
            joined = torch.cat([query, key, value], dim=1).reshape(-1, 48)
            packed[name.replace("self_attn.q_proj", "attention.wqkv")] = joined
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name:
            for old, new in renames.items():
                name = name.replace(old, new)
            packed[name] = tensor
    ids = torch.randint(0, 96, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(as_llama(values, packed)(ids).logits, reference(ids).logits)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("InternVL2-2B", 2_205_754_368), ("InternVL2_5-4B", 3_712_637_952), ("InternVL2_5-8B", 8_075_365_376)],
)
def test_other_sizes_have_the_published_parameter_count(kind, parameters, tmp_path):
    """Sizes of the model cards (2.21, 3.71 and 8.08 billion), counted without memory."""
    import json

    vision = {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "image_size": 448, "patch_size": 14, "qkv_bias": True, "qk_normalization": False,
    }  # fmt: skip
    texts = {
        "InternVL2-2B": {
            "model_type": "internlm2", "vocab_size": 92553, "hidden_size": 2048, "intermediate_size": 8192,
            "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 8, "bias": False,
        },
        "InternVL2_5-4B": {
            "model_type": "qwen2", "vocab_size": 151674, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        },
        "InternVL2_5-8B": {
            "model_type": "internlm2", "vocab_size": 92553, "hidden_size": 4096, "intermediate_size": 14336,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "bias": False,
        },
    }  # fmt: skip
    config = {"model_type": "internvl_chat", "vision_config": vision, "llm_config": texts[kind]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        backbone = build_backbone(ModelSettings(backbone=str(tmp_path)))
    assert sum(p.numel() for p in backbone.parameters()) == parameters


# --- the fused way


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lora", [LORA, LoraSettings(enabled=False)])
def test_fused_layers_give_the_same_losses_and_gradients(lora, shared):
    checkpoint = checkpoints.build(small_model(lora=lora))
    model = checkpoint.model.train()
    shake(model)
    batch = batch_for(checkpoint)
    loss, expected = gradients(model, batch)
    assert fuse(model.backbone, shared) == SMALL["vision"]["num_hidden_layers"] + SMALL["text"]["num_hidden_layers"]
    fused_loss, found = gradients(model, batch)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_compiled_vision_keeps_what_it_is_told_to_keep_and_gives_the_same_gradients(monkeypatch):
    """Norms and activations again, norms alone, nothing: what a layer keeps for its gradient grows, the gradient stays."""
    # Dividing the graph is tested; what is made of the parts is the compiler's affair, and takes half a minute.
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", aot_eager_decomp_partition)
    kept, norms = {}, {}
    for choice in ((True, False), (True, True), (False, False)):
        torch._dynamo.reset()
        torch.manual_seed(0)
        backbone = checkpoints.build(small_model(lora=LoraSettings(enabled=False))).model.train().backbone.bfloat16()
        shake(backbone)
        fuse(backbone, False)
        backbone.compile_layers(1.0, *choice)
        (layer, *_) = backbone.vision_modules()[0].encoder.layer
        hidden = torch.randn(2, 17, len(layer.layernorm_before.weight), dtype=torch.bfloat16)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(partial(noted, sizes), lambda tensor: tensor):
            parts = layer(hidden, hidden)
        sum(part.float().square().sum() for part in parts).backward()
        kept[choice] = sum(sizes)
        norms[choice] = torch.cat([p.grad.float().flatten() for p in layer.parameters()])
    assert kept[True, True] == kept[True, False] + 2 * 17 * len(layer.mlp.fc1.weight)
    assert kept[False, False] > kept[True, True] + hidden.numel()
    for found in norms.values():
        torch.testing.assert_close(found, norms[False, False], atol=0.1, rtol=0.05)


def noted(sizes: list[int], tensor: torch.Tensor) -> torch.Tensor:
    sizes.append(tensor.numel())
    return tensor


def test_fused_layers_fall_back_where_there_is_a_mask():
    model = checkpoints.build(small_model(lora=LORA)).model.eval()
    shake(model)
    embeddings = torch.randn(2, 6, 64)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        expected = model.backbone.decode(embeddings, mask)
        fuse(model.backbone, False)
        torch.testing.assert_close(model.backbone.decode(embeddings, mask)[mask.bool()], expected[mask.bool()])


def test_adapter_dropout_is_drawn_for_each_adapter_or_once():
    """With all first matrices alike, one mask makes the reduced inputs of gate and up alike too."""
    from simlingo_training.models.fused import adapted

    mlp = checkpoints.build(small_model(lora=LoraSettings(rank=4, alpha=8, dropout=0.5))).model.train()
    layer = mlp.backbone.decoder().layers[0].mlp
    for part in (layer.gate_proj, layer.up_proj):
        torch.nn.init.ones_(part.lora_A["default"].weight)
        torch.nn.init.ones_(part.lora_B["default"].weight)
        torch.nn.init.zeros_(part.base_layer.weight)
    inputs = torch.randn(1, 5, 64)
    for shared in (True, False):
        gate, up = adapted((layer.gate_proj, layer.up_proj), inputs, shared)
        assert torch.equal(gate, up) is shared


def test_gelu_of_narrow_numbers_is_the_exact_one_rounded():
    inputs = torch.linspace(-9, 9, 20001).bfloat16().requires_grad_()
    (slope,) = torch.autograd.grad(gelu(inputs).sum(), inputs)
    exact = inputs.detach().double().requires_grad_()
    expected = torch.nn.functional.gelu(exact)
    (wanted,) = torch.autograd.grad(expected.sum(), exact)
    # Half a unit in the last of eight binary places, and what is far below one.
    torch.testing.assert_close(gelu(inputs).double(), expected, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(slope.double(), wanted, rtol=2**-8, atol=1e-6)


def test_numbers_fall_out_independently_of_their_places_and_of_each_other():
    ones = torch.ones(2000, 500)
    torch.manual_seed(0)
    first, second = hashed_dropout(ones, 0.2), hashed_dropout(ones, 0.2)
    out = (first == 0).float()
    assert first.unique().tolist() == [0.0, 1.25]
    assert out.mean().item() == pytest.approx(0.2, abs=2e-3)
    # The spread of shares over columns and rows is that of a binomial distribution.
    assert out.mean(0).std().item() == pytest.approx((0.16 / 2000) ** 0.5, rel=0.15)
    assert out.mean(1).std().item() == pytest.approx((0.16 / 500) ** 0.5, rel=0.15)
    for other in (out.roll(1, 0), out.roll(1, 1), out.roll(8, 1), (second == 0).float()):
        assert (out * other).mean().item() == pytest.approx(0.04, abs=1.5e-3)
    torch.manual_seed(0)
    assert torch.equal(hashed_dropout(ones, 0.2), first)


@pytest.mark.parametrize("words", [48, 50])
def test_losses_under_frozen_scores_are_those_under_trained_ones(words):
    torch.manual_seed(0)
    scores, targets = torch.nn.Linear(8, words, bias=False), torch.randint(0, words, (11,))
    states, weights = torch.randn(11, 8, requires_grad=True), torch.rand(11)
    found = []
    for trained in (True, False):
        scores.requires_grad_(trained)
        losses = token_losses(states, scores, targets, chunk=4)
        found.append((losses, *torch.autograd.grad((losses * weights).sum(), states)))
    for plain, frozen in zip(*found):
        torch.testing.assert_close(frozen, plain)


def test_losses_of_a_few_positions_at_a_time_are_the_cross_entropy():
    torch.manual_seed(0)
    scores = torch.nn.Linear(8, 50, bias=False)
    states = torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(0, 50, (11,))
    expected = torch.nn.functional.cross_entropy(scores(states), targets, reduction="none")
    wanted = torch.autograd.grad(expected.sum(), (states, scores.weight))
    found = token_losses(states, scores, targets, chunk=4)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(torch.autograd.grad(found.sum(), (states, scores.weight)), wanted):
        torch.testing.assert_close(mine, theirs)
    assert token_losses(states[:0], scores, targets[:0]).shape == (0,)
