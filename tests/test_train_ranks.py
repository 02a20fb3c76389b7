"""Several processes: each validates its share, and one that hangs is named."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train_judged import labelled_lake

import eegzarr
from eegzarr.train.scoring.predict import evaluation_stream


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    number = np.arange(168.0)
    number[5::17] = np.nan  # left out
    return labelled_lake(tmp_path_factory.mktemp("ranks") / "lake.zarr", {"number": number}, target="number")


@given(st.integers(1, 200), st.integers(1, 7))
@settings(max_examples=10)
def test_processes_share_out_every_window_once(lake: Path, batch_size: int, ranks: int) -> None:
    windows = eegzarr.open_windows(lake, "given")
    shares = [evaluation_stream(windows, batch_size, rank=rank, ranks=ranks) for rank in range(ranks)]
    given_out = [label for share in shares for _, _, labels in share for label in labels["window"].tolist()]
    known = np.flatnonzero(np.isfinite(windows["number"].to_numpy()))
    assert sorted(given_out) == known.tolist()
    assert {share.n_windows for share in shares} == {len(known)}


_PROCESS = """
import sys, time
import torch
from torch.nn.parallel import DistributedDataParallel
from eegzarr.errors import FitStopped
from eegzarr.train.loop.ranks import joined_ranks

with joined_ranks(torch.device("cpu"), patience=4.0) as ranks:
    model = DistributedDataParallel(torch.nn.Linear(2, 1))
    for step in range(4):
        if step == 3 and sys.argv[1:] == [str(ranks.rank)]:
            print("hangs", flush=True)
            time.sleep(600)
        try:
            with ranks.together():
                model(torch.ones(1, 2)).sum().backward()
            ranks.largest(1.0)
        except FitStopped as error:
            print(error)
            break
"""


def started(rank: int, *arguments: str, port: int) -> subprocess.Popen[str]:
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    command = [sys.executable, "-c", _PROCESS, *arguments]
    return subprocess.Popen(command, env=os.environ | world, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("hangs", [0, 1])
def test_a_process_that_hangs_is_named_by_the_others(hangs: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    each = [started(rank, str(hangs), port=port) for rank in range(2)]
    try:
        told, _ = each[1 - hangs].communicate(timeout=120)
        assert f"process {hangs} (pid {each[hangs].pid} on {socket.gethostname()}) didn't come" in told
        assert each[hangs].poll() is None
    finally:
        for process in each:
            process.kill()
            process.wait()
