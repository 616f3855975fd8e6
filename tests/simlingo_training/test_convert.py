"""Released checkpoints in and out, adapters merged, backbones from folders, pictures drawn."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from simlingo_training import convert
from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data import prompts
from simlingo_training.inference import Observation, Policy, Session
from simlingo_training.models import checkpoint as checkpoints
from simlingo_training.models.checkpoint import CheckpointError
from simlingo_training.models.pretrained import load_backbone
from simlingo_training.models.released import LANGUAGE_PREFIX, VISION_PREFIX, to_released
from simlingo_training.visualise import Scene, draw
from tests.simlingo_training.conftest import shared
from tests.simlingo_training.test_training import small_model


@pytest.fixture(scope="module")
def source():
    return shared("parity", "model")


def hydra_file(folder: Path) -> Path:
    """A released run's configuration with the reference's adapter sizes."""
    language = {"variant": "x", "lora": True, "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.1}
    values = {
        "model": {"language_model": language, "speed_wps_mode": "2d", "predict_route_as_wps": True},
        "data_module": {"use_global_img": False, "base_dataset": {"cut_bottom_quarter": True}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_released_file_to_directory_and_back(source, tmp_path, monkeypatch):
    backbone = str(source / "backbone")
    imported, exported = tmp_path / "imported", tmp_path / "pytorch_model.pt"
    options = ["--weights", str(source / "pytorch_model.pt"), "--hydra", str(hydra_file(tmp_path))]
    options += ["--backbone", backbone, "--tokenizer", backbone, "--out", str(imported)]
    monkeypatch.setattr(sys, "argv", ["convert", "import", *options])
    convert.main()
    convert.export_released(checkpoints.load(imported), exported)
    original, back = (torch.load(path, weights_only=True) for path in (source / "pytorch_model.pt", exported))
    assert set(original) == set(back)
    for name, tensor in original.items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name


def test_wrong_adapters_are_explained(source):
    backbone = str(source / "backbone")
    with pytest.raises(CheckpointError, match="sizes differ"):
        convert.import_released(source / "pytorch_model.pt", None, backbone, backbone, rank=4, alpha=8)


def test_damaged_and_unsafe_files_are_refused(tmp_path):
    broken = tmp_path / "pytorch_model.pt"
    broken.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        convert.read_released(broken)
    torch.save({"weights": Path("x")}, broken)
    with pytest.raises(CheckpointError, match="refused"):
        convert.read_released(broken)
    torch.save([torch.zeros(2)], broken)
    with pytest.raises(CheckpointError, match="dictionary of tensors"):
        convert.read_released(broken)
    with pytest.raises(CheckpointError, match="no such file"):
        convert.read_released(tmp_path)


@pytest.mark.parametrize("content", ["model: [", "", "- a list", "model: 3"])
def test_a_run_configuration_that_is_none_is_refused(source, tmp_path, content):
    hydra = tmp_path / "config.yaml"
    hydra.write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        convert.import_released(source / "pytorch_model.pt", hydra, "internvl2_1b", "tiny", rank=4, alpha=8)


def test_bad_weights_are_told_before_anything_is_built_or_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(convert.checkpoints, "build", lambda settings: pytest.fail("built a model for no weights"))
    with pytest.raises(CheckpointError, match="no such file"):
        convert.import_released(tmp_path / "nothing.pt", None, "internvl2_1b", "tiny", rank=4, alpha=8)


def test_a_deepspeed_folder_is_read(source, tmp_path):
    tensors = torch.load(source / "pytorch_model.pt", weights_only=True)
    (tmp_path / "checkpoint").mkdir()
    torch.save({"module": tensors, "global_steps": 5}, tmp_path / "checkpoint" / "mp_rank_00_model_states.pt")
    assert set(convert.read_released(tmp_path)) == set(tensors)


def test_merged_adapters_predict_the_same(tmp_path):
    checkpoint = checkpoints.build(small_model(lora=LoraSettings(rank=4, alpha=8)))
    for name, parameter in checkpoint.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    image = np.random.default_rng(0).integers(0, 256, (512, 1024, 3), dtype=np.uint8)
    prompt = prompts.commentary_prompt(3.0, prompts.points_sentence())
    observation = Observation(image, 3.0, np.array([[10.0, 1.0], [20.0, 2.0]]), prompt)
    merged = convert.merge(checkpoint)
    assert not [name for name in merged.model.state_dict() if "lora_" in name]
    with_adapters = Policy(checkpoint, "cpu").act(observation, Session())
    without = Policy(merged, "cpu").act(observation, Session())
    assert with_adapters.tokens == without.tokens
    np.testing.assert_allclose(with_adapters.path, without.path, atol=1e-4)


def test_merged_adapters_are_exported_under_the_names_of_a_run_without_adapters(source, tmp_path):
    """The published code wraps the decoder only where it has adapters."""
    backbone = str(source / "backbone")
    values = yaml.safe_load(hydra_file(tmp_path).read_text())
    imported = convert.import_released(source / "pytorch_model.pt", hydra_file(tmp_path), backbone, backbone, 4, 8)
    merged, exported = convert.merge(imported), tmp_path / "merged.pt"
    convert.export_released(merged, exported)
    names = set(torch.load(exported, weights_only=True))
    assert "language_model.model.model.layers.0.self_attn.q_proj.weight" in names
    assert not [name for name in names if "lora_" in name or "base_" in name]
    values["model"]["language_model"]["lora"] = False
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    again = convert.import_released(exported, tmp_path / "config.yaml", backbone, backbone, 4, 8)
    for name, tensor in merged.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, msg=name)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"straight_prior": True}, "straight_prior"),
        ({"numbers_in_queries": True}, "numbers_in_queries"),
        ({"backbone": "tiny_smolvlm", "overrides": {}}, "InternVL"),
    ],
)
def test_models_that_the_published_code_does_not_have_are_not_exported(changes, named, tmp_path):
    """With a straight prior the names are the same and the drive is not."""
    with pytest.raises(CheckpointError, match=named):
        convert.export_released(checkpoints.build(small_model(**changes)), tmp_path / "weights.pt")
    assert not (tmp_path / "weights.pt").exists()


def test_backbone_weights_from_a_folder_in_either_layout(tmp_path):
    plain = checkpoints.build(small_model()).model
    tensors = plain.state_dict()
    backbone = {name: tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
    original = {}
    for name, tensor in to_released(backbone, with_aliases=False).items():
        if name.startswith(VISION_PREFIX):
            original[name.removeprefix(VISION_PREFIX)] = tensor.contiguous()
        else:
            original["language_model." + name.removeprefix(LANGUAGE_PREFIX)] = tensor.contiguous()
    native = {name.removeprefix("backbone.vlm."): tensor for name, tensor in backbone.items()}
    for layout, content in (("original", original), ("native", native)):
        folder = tmp_path / layout
        folder.mkdir()
        save_file(content, str(folder / "model.safetensors"))
        for settings in (small_model(), small_model(lora=LoraSettings(rank=4, alpha=8))):
            model = checkpoints.build(settings).model
            load_backbone(model, str(folder))
            assert torch.equal(model.backbone.output_layer().weight, plain.backbone.output_layer().weight)
            key = "backbone.vlm.model.vision_tower.encoder.layer.0.attention.k_proj.weight"
            assert torch.equal(model.state_dict()[key], tensors[key])
    del content["lm_head.weight"], content["model.vision_tower.embeddings.cls_token"]
    save_file(content, str(folder / "model.safetensors"))
    with pytest.raises(CheckpointError, match="cls_token"):
        load_backbone(model, str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no safetensors"):
        load_backbone(model, str(tmp_path / "empty"))


def test_unknown_backbones_list_the_packaged_ones():
    with pytest.raises(FileNotFoundError, match="internvl2_1b"):
        checkpoints.build(ModelSettings(backbone="internvl9"))


def test_pictures_show_points_where_they_are():
    path = np.stack([np.arange(4.0, 20.0), np.zeros(16)], axis=1)
    scene = Scene(np.zeros((512, 1024, 3), np.uint8), {"path_label": path, "path": path}, "prompt", "said")
    figure = draw([scene, scene])
    assert len(figure.axes) == 4
    drawn = figure.axes[0].lines[0].get_xydata()
    assert len(drawn)
    np.testing.assert_allclose(drawn[:, 0], 512, atol=1)
    assert (np.diff(drawn[:, 1]) < 0).all()
