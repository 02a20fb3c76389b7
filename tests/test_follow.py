"""The monitor's look at a build's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from eegzarr.watch.follow import FollowedLog

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
