"""The golden bytes are what the specification's formulae give, and nothing else."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


def test_the_file_is_what_the_generator_makes() -> None:
    place = Path(__file__).with_name("make_vectors.py")
    spec = importlib.util.spec_from_file_location("make_vectors", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert json.loads(module.VECTORS.read_text()) == module.vectors()
