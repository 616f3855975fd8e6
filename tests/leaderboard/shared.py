"""Where test data lie that are not part of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared"
ROUTES_220 = SHARED / "bench2drive" / "bench2drive220.xml"
PDM_LITE = SHARED / "bench2drive" / "published_results" / "pdm_lite"
CARLA_TOWNS = SHARED / "carla_towns"

needs_shared = pytest.mark.skipif(not ROUTES_220.exists(), reason="the official Bench2Drive files are not there")
