"""Makes what the gallery's scripts open, once: the simulated sample, a lake of its windows and one of whole recordings.

The scripts run in docs/gallery, so that ``demo/lake.zarr`` is the path there as it is in a reader's folder.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

from eegzarr.build.api import build_lake
from eegzarr.sample import write_sample

GALLERY = Path(__file__).parents[1] / "gallery"
DEMO = GALLERY / "demo"


def on_config(config: Any, **_: Any) -> Any:
    """Build the lakes (called by MkDocs before any script runs)."""
    logging.getLogger("eegzarr").setLevel(logging.ERROR)
    for run in ("run", "hands"):  # of a build of the site that was broken off
        shutil.rmtree(DEMO / run, ignore_errors=True)
    if (DEMO / "done").exists():
        return config
    write_sample(DEMO / "sample")
    for lake, recipe in (
        ("lake.zarr", "challenge1"),
        ("whole.zarr", "continuous"),
    ):
        build_lake(
            DEMO / "sample",
            DEMO / lake,
            recipe=recipe,
            workers=1,
            memory_limit="2GiB",
        )
    (DEMO / "done").touch()
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the gallery's second address of each picture, which is wrong where pages aren't folders."""
    return re.sub(r' srcset="\.\./images/[^"]*"', "", html)
