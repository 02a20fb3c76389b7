"""Workers that all builds of the table share: to start Dask takes longer than to build a row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dask.distributed import LocalCluster


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a running cluster of two processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address
