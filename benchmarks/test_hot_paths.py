"""Micro-benchmarks by pytest-benchmark: each hot path in a group with its reference, in turns.

python -m pytest benchmarks --benchmark-only     # its own table, also compared with runs that it saved before
python -m benchmarks.micro                       # the ratios alone, held against their ceilings
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.hot_paths import CEILINGS, HotPath, hot_paths

TURNS = 3


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HotPath]:
    return hot_paths(tmp_path_factory.mktemp("hot"))


@pytest.mark.parametrize("side", ["path", "reference"])
@pytest.mark.parametrize("name", CEILINGS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_hot_path(turn: int, name: str, side: str, paths: dict[str, HotPath], benchmark: Any) -> None:
    benchmark.group = f"{name}, turn {turn + 1}"
    benchmark(getattr(paths[name], side))
    assert benchmark.disabled or benchmark.stats.stats.rounds > 1
