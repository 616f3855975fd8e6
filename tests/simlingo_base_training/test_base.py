"""SimLingo-Base against recorded outputs of the published model code, and a short run of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from driving.camera import cut_bonnet
from simlingo_base_training.images import PaddedTiles, equalise_brightness
from simlingo_base_training.model import SimLingoBase, base_losses, read_backbone
from simlingo_base_training.policy import BasePolicy
from simlingo_base_training.released import from_released, to_released
from simlingo_base_training.training import base_recipe, load
from simlingo_training import run
from simlingo_training.config import BaseModelSettings, TaskShares
from simlingo_training.inference import Observation
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.schedule import parameter_groups
from tests.simlingo_training.conftest import data_root as data_root
from tests.simlingo_training.conftest import shared
from tests.simlingo_training.test_training import small_run


@pytest.fixture(scope="module")
def source():
    return shared("parity", "model", "base")


@pytest.fixture(scope="module")
def recorded(source):
    return np.load(source / "forward.npz")


@pytest.fixture(scope="module")
def model(source, tmp_path_factory):
    config = json.loads((source / "run_config.json").read_text())
    sizes = {
        "vision": config["vision_tower"],
        "projector_width": config["projector_width"],
        "embed_dim": config["embed_dim"],
        "decoder": config["llm"],
    }
    file = tmp_path_factory.mktemp("sizes") / "sizes.json"
    file.write_text(json.dumps(sizes))
    built = SimLingoBase(BaseModelSettings(backbone=str(file))).eval()
    checkpoints.load_weights(built, from_released(load_file(str(source / "model.safetensors"))), "reference")
    return built


@pytest.fixture(scope="module")
def inputs(recorded):
    tiles = torch.from_numpy(recorded["tiles_uint8"]).permute(0, 1, 3, 4, 2)
    return tiles, torch.from_numpy(recorded["vehicle_speed"])[:, 0], torch.from_numpy(recorded["map_route"])


def close(actual, expected, atol=1e-4):
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=atol, rtol=0)


def test_tiles(source, recorded):
    images = np.load(source.parent / "images.npz")
    tiles = np.stack([PaddedTiles().cut(cut_bonnet(images[f"image_{k}"])) for k in range(4)])
    np.testing.assert_array_equal(tiles.transpose(0, 1, 4, 2, 3), recorded["tiles_uint8"])


def test_features_tokens_states_and_predictions(model, recorded, inputs):
    with torch.no_grad():
        close(model.encode_tiles(inputs[0])[0], recorded["pooled_features_sample0"])
        close(model.input_tokens(*inputs), recorded["llm_inputs"])
        output = model(*inputs)
    close(output.query_states, recorded["final_hidden"][:, -model.heads.num_queries :])
    close(output.path, recorded["route_prediction"])
    close(output.speed_waypoints, recorded["speed_wps_prediction"])


def test_losses_and_gradient_norms(source, model, recorded, inputs):
    expected = json.loads((source / "forward.json").read_text())
    labels = (torch.from_numpy(recorded[f"label.{name}"]) for name in ("route_adjusted", "waypoints"))
    terms = {name: values.mean() for name, values in base_losses(model(*inputs), *labels).items()}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected["losses"], rel=1e-5)
    sum(terms.values()).backward()
    named = to_released({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    norms = {name: value for name, value in expected["gradient_norms"].items() if value}
    for name, norm in norms.items():
        assert named[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-4), name
    model.zero_grad()


def test_names_round_trip(source):
    stored = load_file(str(source / "model.safetensors"))
    assert set(to_released(from_released(stored))) == set(stored)


def test_decay_spares_biases_norms_and_queries(model):
    from simlingo_training.config import OptimSettings

    groups = parameter_groups(model.named_parameters(), OptimSettings(decay_all=False))
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in trained.items():
        if name.endswith("bias") or "norm" in name or "queries" in name or "newline" in name or "encoding" in name:
            assert id(parameter) in spared, name


def test_full_size_feature_map_has_200_tokens():
    with torch.device("meta"):
        model = SimLingoBase(BaseModelSettings())
    assert read_backbone("clip_vit_l_336")["vision"]["image_size"] == model.tile_px == 336
    from simlingo_base_training.model import without_padding

    assert without_padding(torch.zeros(1, 1, 24, 48)).shape[2:] == (16, 48)


def test_every_trained_weight_gets_a_gradient():
    """Processes that train together wait for each of them."""
    model = SimLingoBase(BaseModelSettings(backbone="tiny"))
    tiles = torch.zeros(1, 2, model.tile_px, model.tile_px, 3, dtype=torch.uint8)
    output = model(tiles, torch.ones(1), torch.ones(1, 2, 2))
    (output.path.sum() + output.speed_waypoints.sum()).backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_equalised_images_use_the_whole_range():
    dark = np.random.default_rng(0).integers(20, 60, (64, 128, 3), dtype=np.uint8)
    assert equalise_brightness(dark).std() > 2 * dark.std()


def test_a_short_run_stores_a_checkpoint_that_drives(data_root, tmp_path):
    settings = small_run(data_root, tmp_path)
    data = replace(settings.data, dreamer_share=0.0, tasks=TaskShares(1.0, 0.0, 0.0))
    settings = replace(settings, kind="simlingo_base", base=BaseModelSettings(backbone="tiny"), data=data)
    summary = run.train(settings, base_recipe)
    assert summary["model"]["waypoint_ade"] > 0
    folder = tmp_path / "checkpoints" / "last"
    observation = Observation(np.full((512, 1024, 3), 90, np.uint8), 4.0, np.array([[15.0, 0.0], [35.0, 1.0]]), "")
    prediction = BasePolicy.load(folder, "cpu").act(observation)
    assert prediction.path.shape == (20, 2)
    assert prediction.speed_waypoints.shape == (10, 2)
    with pytest.raises(checkpoints.CheckpointError, match="'simlingo', got 'simlingo_base'"):
        checkpoints.load(folder)
    assert load(folder).meta["finished"]
