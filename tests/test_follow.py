"""The monitor's look at a build's log."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from eegzarr.watch.follow import FollowedLog
from eegzarr.watch.view import newest_log

BEGAN = "2026-01-01 00:00:00,000 INFO BuildBegan group=a windows=100 windows_finished=20 shards=5\n"
SHARD = "2026-01-01 00:00:{:02d},000 INFO ShardFinished shard=1 windows=10 nbytes=7\n"


def test_only_what_was_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "build.log"
    path.write_text("the command\n" + BEGAN + SHARD.format(2))
    log = FollowedLog(path)
    assert log.figures() == (5.0, 14.0, None)
    before = log.n_read
    with path.open("r+b") as file:  # what was read before isn't looked at again
        file.write(b"x" * 40)
    with path.open("a") as file:
        file.write(SHARD.format(4)[:30])
    assert log.figures() == (5.0, 14.0, None)
    with path.open("a") as file:
        file.write(SHARD.format(4)[30:])
        file.write("2026-01-01 00:00:04,100 INFO MemorySampled tree=77 limit=0\n")
    assert log.figures() == pytest.approx((20 / 4.1, 60 / (20 / 4.1), 77))
    assert log.n_read == path.stat().st_size > before
    assert log.figures()[2] == 77
    path.write_text(BEGAN)  # another build's
    assert log.figures() == (None, None, None)


def test_a_clock_that_is_set_and_a_machine_that_sleeps_change_no_rate(tmp_path: Path) -> None:
    path = tmp_path / "build.log"
    lines = [BEGAN, SHARD.format(2), SHARD.format(4).replace("2026-01-01", "2345-01-01")]
    lines += [SHARD.format(6).replace("2026-01-01", "1979-12-31"), SHARD.format(8).replace("2026-01-01", "1979-12-31")]
    path.write_text("".join(lines))
    rate, left, _ = FollowedLog(path).figures()
    assert rate is not None
    assert rate == pytest.approx(40 / (2 + 60 + 0 + 2))  # the jump counts as no more than the longest silence
    assert left == pytest.approx(40 / rate)


def test_a_log_from_the_future_is_not_the_one_that_is_followed(tmp_path: Path) -> None:
    logs = tmp_path / "lake.zarr.logs"
    logs.mkdir()
    for name, day in (("wrong", 30), ("old", -2), ("now", 0)):
        (logs / f"{name}.log").write_text(BEGAN)
        os.utime(logs / f"{name}.log", (time.time() + day * 86_400,) * 2)
    assert newest_log(f"{tmp_path / 'lake.zarr'}/") == logs / "now.log"
    (logs / "old.log").unlink()
    (logs / "now.log").unlink()
    assert newest_log(str(tmp_path / "lake.zarr")) == logs / "wrong.log"
