"""Pictures of towns from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from carla_server.map.plot import main

DATA = Path(__file__).parents[3] / "data"


def test_a_town_with_routes_becomes_a_picture(tmp_path):
    target = tmp_path / "town.png"
    arguments = ["Mini01", "--maps", str(DATA / "towns"), "--routes", str(DATA / "routes" / "demo_eval.xml")]
    assert main([*arguments, "--out", str(target)]) == 0
    with Image.open(target) as picture:
        assert min(picture.size) > 800
        # Asphalt, lawn and paint: far more than a blank page.
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_missing_files_are_named(tmp_path, capsys):
    assert main(["Nowhere", "--maps", str(tmp_path), "--out", str(tmp_path / "x.png")]) == 2
    assert "Nowhere.xodr" in capsys.readouterr().err
    (tmp_path / "broken.xml").write_text("<routes><route")
    arguments = ["Mini01", "--maps", str(DATA / "towns"), "--routes", str(tmp_path / "broken.xml")]
    assert main([*arguments, "--out", str(tmp_path / "x.png")]) == 2
    assert "not a route file" in capsys.readouterr().err
