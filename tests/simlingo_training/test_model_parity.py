"""The network against recorded inputs and outputs of the published model code (random weights, float32, eval mode)."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from simlingo_training.config import LoraSettings, ModelSettings, OptimSettings
from simlingo_training.data.chat import ChatTokenizer
from simlingo_training.data.collate import Collate
from simlingo_training.data.images import TileSpec, camera_to_tiles
from simlingo_training.inference import Observation, Policy, Session
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models import released
from simlingo_training.models.losses import point_loss
from simlingo_training.models.pixels import normalise_tiles
from simlingo_training.models.schedule import RunProgress, make_optimizer, make_scheduler
from simlingo_training.models.simlingo import ModelInput
from tests.simlingo_training.conftest import shared

ATOL = 1e-4


@pytest.fixture(scope="module")
def source():
    return shared("parity", "model")


@pytest.fixture(scope="module")
def settings(source):
    folder = str(source / "backbone")
    return ModelSettings(backbone=folder, tokenizer=folder, lora=LoraSettings(rank=8, alpha=16))


@pytest.fixture(scope="module")
def checkpoint(source, settings):
    built = checkpoints.build(settings)
    checkpoints.initialise(built.model, source / "pytorch_model.pt")
    return built


@pytest.fixture(scope="module")
def arrays(source):
    names = ("images", "collate", "train_forward", "inference", "gradients", "prompt_kinds_ids")
    return {name: np.load(source / f"{name}.npz") for name in names}


@pytest.fixture(scope="module")
def tiles(arrays):
    return np.stack([camera_to_tiles(arrays["images"][f"image_{k}"], TileSpec()) for k in range(4)])


@pytest.fixture(scope="module")
def batch(arrays, tiles, checkpoint):
    """The recorded batch, moved from padding on the left to padding on the right."""
    collate, forward = arrays["collate"], arrays["train_forward"]
    valid = collate["prompt.phrase_valid"]
    lengths = valid.sum(1)
    ids = np.full(valid.shape, checkpoint.tokenizer.padding_token)
    for row, count in enumerate(lengths):
        ids[row, :count] = collate["prompt.phrase_ids"][row][valid[row]]
    rows, columns = forward["supervised_rows_cols"].T
    supervised = np.stack([rows, columns - (valid.shape[1] - lengths)[rows]])
    return ModelInput(
        torch.from_numpy(tiles),
        torch.from_numpy(ids).long(),
        torch.from_numpy(lengths),
        torch.from_numpy(collate["target_point"]),
        torch.from_numpy(collate["vehicle_speed"]).reshape(-1),
        torch.from_numpy(supervised).long(),
        torch.from_numpy(forward["supervised_targets"]).long(),
    )


@pytest.fixture(scope="module")
def output(checkpoint, batch):
    with torch.no_grad():
        return checkpoint.model(batch)


def close(actual, expected, atol=ATOL):
    np.testing.assert_allclose(
        np.asarray(actual.detach() if hasattr(actual, "detach") else actual), expected, atol=atol, rtol=0
    )


def test_tiles_and_normalised_pixels(arrays, tiles):
    np.testing.assert_array_equal(tiles, arrays["images"]["tiles_uint8"])
    pixels = normalise_tiles(torch.from_numpy(tiles))[..., ::16, ::16]
    for k in range(4):
        close(pixels[k], arrays["images"][f"pixel_values_every16_{k}"], atol=1e-6)


def test_every_prompt_kind_has_the_recorded_ids(source, arrays, checkpoint):
    for kind in json.loads((source / "prompt_kinds.json").read_text())["kinds"]:
        row = checkpoint.tokenizer.row(kind["prompt"], 512, kind["answer"])
        assert list(row.ids) == arrays["prompt_kinds_ids"][f"full_ids_{kind['index']:02d}"].tolist(), kind["name"]
        inference = arrays["prompt_kinds_ids"][f"inference_ids_{kind['index']:02d}"].tolist()
        assert (
            list(row.ids[: row.prompt_length]) == inference == list(checkpoint.tokenizer.row(kind["prompt"], 512).ids)
        )
        assert row.first_supervised == kind["full_first_supervised"]


def test_vision_features_and_point_embeddings(arrays, checkpoint, tiles):
    recorded = arrays["train_forward"]
    flat = torch.from_numpy(tiles).flatten(0, 1)[recorded["vision_tile_index"]]
    with torch.no_grad():
        close(checkpoint.model.backbone.encode_tiles(flat[:, None]), recorded["mlp1_output"])
        points = torch.from_numpy(recorded["wp_encoder_input"]).float()
        close(checkpoint.model.point_encoder(points), recorded["wp_encoder_output"])


def test_inputs_and_hidden_states_of_the_decoder(arrays, checkpoint, batch, output):
    recorded = arrays["train_forward"]
    mask = recorded["inputs_mask"]
    with torch.no_grad():
        text = checkpoint.model.embed_text(batch.ids, batch.tiles, batch.target_points)
        rows = checkpoint.model.append_queries(
            text, batch.lengths, checkpoint.model.heads.queries().expand(len(text), -1, -1)
        )
        hidden = checkpoint.model.backbone.decode(rows)
    close(rows[mask], recorded["llm_inputs"][mask])
    close(hidden[mask], recorded["final_hidden"][mask])
    close(output.query_states, recorded["driving_hidden"])


def test_predictions_logits_and_losses(source, arrays, checkpoint, batch, output):
    recorded, collate = arrays["train_forward"], arrays["collate"]
    close(output.path, recorded["route_prediction"])
    close(output.speed_waypoints, recorded["speed_wps_prediction"])
    with torch.no_grad():
        close(checkpoint.model.backbone.output_layer()(output.token_states), recorded["supervised_logits"])
    path = point_loss(output.path, torch.from_numpy(collate["label.path"]))
    speed = point_loss(output.speed_waypoints, torch.from_numpy(collate["label.waypoints"]))
    tokens = output.token_losses
    close(path, recorded["route_loss_per_point"])
    close(speed, recorded["speed_wps_loss_per_point"])
    close(tokens, recorded["supervised_token_loss"])
    expected = json.loads((source / "train_forward.json").read_text())["losses"]
    found = {"route_loss": path.mean(), "speed_wps_loss": speed.mean(), "language_loss": tokens.mean()}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-5)


def total_loss(model, batch, collate):
    output = model(batch)
    path = point_loss(output.path, torch.from_numpy(collate["label.path"])).mean()
    speed = point_loss(output.speed_waypoints, torch.from_numpy(collate["label.waypoints"])).mean()
    return path + speed + output.token_losses.mean()


def test_gradients_and_five_optimiser_steps(source, arrays, settings, batch):
    model = checkpoints.build(settings).model
    checkpoints.initialise(model, source / "pytorch_model.pt")
    recorded = json.loads((source / "train_steps.json").read_text())
    optim = OptimSettings(lr=3e-5, weight_decay=0.1, cycle_momentum=True, decay_all=True, fused=False)
    optimizer = make_optimizer(model.named_parameters(), optim)
    scheduler = make_scheduler(optimizer, optim, RunProgress(100, None))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for number, step in enumerate(recorded["steps"]):
        loss = total_loss(model, batch, arrays["collate"])
        assert loss.item() == pytest.approx(step["loss"], rel=1e-4)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(step["lr"], rel=1e-6)
        optimizer.zero_grad()
        loss.backward()
        if number == 0:
            gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            named = released.to_released(gradients)
            for name in arrays["gradients"].files:
                expected = arrays["gradients"][name]
                scale = max(1.0, float(np.abs(expected).max()))
                np.testing.assert_allclose(named[name].numpy(), expected, atol=1e-4 * scale, err_msg=name)
        norm = torch.nn.utils.clip_grad_norm_(trained, 0.3)
        assert float(norm) == pytest.approx(step["gradient_norm_before_clip"], rel=1e-4)
        optimizer.step()
        scheduler.step()


def test_released_checkpoint_round_trip_and_parameter_counts(source, checkpoint, settings):
    stored = torch.load(source / "pytorch_model.pt", weights_only=True)
    back = released.to_released(released.from_released(stored))
    assert set(back) == set(stored)
    assert all(torch.equal(back[name], stored[name]) for name in stored)
    counts = json.loads((source / "run_config.json").read_text())
    parameters = list(checkpoint.model.parameters())
    assert sum(p.numel() for p in parameters) == counts["parameters_unique"]
    fresh = checkpoints.build(settings).model.parameters()
    assert sum(p.numel() for p in fresh if p.requires_grad) == counts["parameters_trained"]


@pytest.fixture(scope="module")
def observations(source, arrays):
    kinds = {kind["name"]: kind for kind in json.loads((source / "prompt_kinds.json").read_text())["kinds"]}
    singles = json.loads((source / "inference.json").read_text())["single"]
    collate = arrays["collate"]
    made = [
        Observation(
            arrays["images"][f"image_{k}"],
            0.0,
            collate["target_point"][k].astype(float),
            kinds[single["name"]]["prompt"],
        )
        for k, single in enumerate(singles)
    ]
    return list(zip(made, singles))


@pytest.fixture(scope="module")
def policy(checkpoint, tmp_path_factory):
    folder = checkpoints.save(checkpoint, tmp_path_factory.mktemp("checkpoint"))
    return Policy.load(folder, device="cpu")


def test_generated_tokens_text_and_actions(arrays, policy, observations):
    recorded = arrays["inference"]
    for k, (observation, single) in enumerate(observations):
        prediction = policy.act(observation, Session())
        end = [] if single["stopped"] else [policy.tokenizer.end_token]
        assert list(prediction.tokens) == single["tokens"] + end
        assert prediction.text == single["text"]
        if single["stopped"]:
            close(prediction.path, recorded[f"single{k}.route"][0])
            close(prediction.speed_waypoints, recorded[f"single{k}.speed_wps"][0])


def test_actions_behind_a_prescribed_answer(arrays, checkpoint, observations):
    policy = Policy(checkpoint, "cpu", text_every=100)
    for k, (observation, single) in enumerate(observations):
        prediction = policy.act(observation, Session(draft=tuple(single["given_tokens"])))
        assert prediction.text == single["given_text_decoded"]
        close(prediction.path, arrays["inference"][f"given{k}.route"][0])
        close(prediction.speed_waypoints, arrays["inference"][f"given{k}.speed_wps"][0])


def test_drafts_and_batches_change_nothing(policy, observations):
    plain = Policy(checkpoints.Checkpoint(policy.model, policy.settings, policy.tokenizer), "cpu", use_drafts=False)
    alone = [plain.act(observation, Session()) for observation, _ in observations]
    drafted_sessions = [Session() for _ in observations]
    half = replace(drafted_sessions[1], draft=(*alone[1].tokens[:7], 5, *alone[1].tokens[8:]))
    drafted_sessions[1] = half
    together = policy.act_batch([observation for observation, _ in observations], drafted_sessions)
    again = policy.act_batch([observation for observation, _ in observations], drafted_sessions)
    for one, batched, repeated in zip(alone, together, again):
        assert one.tokens == batched.tokens == repeated.tokens
        close(batched.path, one.path)
        close(repeated.speed_waypoints, one.speed_waypoints)


def test_collate_lists_the_recorded_supervised_positions(source, arrays, checkpoint):
    kinds = json.loads((source / "prompt_kinds.json").read_text())["kinds"]
    wanted = json.loads((source / "run_config.json").read_text())["batch"]
    by_name = {kind["name"]: kind for kind in kinds}
    from simlingo_training.data.collate import supervised_positions

    rows = [checkpoint.tokenizer.row(by_name[n]["prompt"], 512, by_name[n]["answer"]) for n in wanted]
    _, targets = supervised_positions(rows)
    np.testing.assert_array_equal(targets, arrays["train_forward"]["supervised_targets"])
    assert Collate(0).padding_token == 0


def test_tokenizer_without_chat_tokens_is_refused():
    from tokenizers import Tokenizer, models

    with pytest.raises(ValueError, match="IMG_CONTEXT"):
        ChatTokenizer(Tokenizer(models.BPE()))


def test_recorded_shapes_give_the_same_answers(checkpoint, policy, observations):
    """The padded passes that a GPU records, run here without recording."""
    recorded = Policy(checkpoint, "cpu", recorded=True)
    for observation, _ in observations[:2]:
        session = Session()
        expected = policy.act(observation, Session())
        for _ in range(2):
            found = recorded.act(observation, session)
            assert found.tokens == expected.tokens
            close(found.path, expected.path)
