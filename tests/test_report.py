"""The report: one page about a lake that a browser shows without any other file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from eegzarr.report import main, report
from eegzarr.store.open import open_recordings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(sample_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main([str(sample_lake), "-o", str(path)]) == 0
    return path


def test_a_page_tells_what_is_in_the_lake_and_what_was_skipped(page: Path, sample_lake: Path) -> None:
    html = page.read_text(encoding="utf-8")
    recordings = open_recordings(sample_lake, "challenge1", "R1")
    reasons = {str(reason) for reason in recordings["reason"].values.tolist() if reason}
    assert reasons
    for told in ("challenge1/R1", "recordings skipped", *reasons, "All checksums match"):
        assert told in html
    pictures = ("Subjects", "Windows per subject", "Windows in a recording", "Target by subject", "Label age")
    of_signals = ("Some windows", "Average at E62", "Scalp map", "Power spectral density")
    for picture in (*pictures, *of_signals):
        assert f'alt="{picture}"' in html
    assert "recipe.target" in html


def test_a_page_needs_no_other_file_and_no_network(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "<script" not in html
    assert "@import" not in html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page")
def test_a_browser_shows_every_picture_light_and_dark(page: Path, tmp_path: Path) -> None:
    import matplotlib.image

    shots = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        shot = tmp_path / f"{scheme}.png"
        browse(
            page, f"--blink-settings=preferredColorScheme={number}", f"--screenshot={shot}", "--window-size=1200,2600"
        )
        shots[scheme] = matplotlib.image.imread(shot)[..., :3]
    image = shots["light"]
    colours = np.unique((image[::4, ::4] * 255).astype(np.uint8).reshape(-1, 3), axis=0)
    blue = np.isclose(image, np.array([0, 114, 178]) / 255, atol=0.02).all(axis=-1)
    assert len(colours) > 100
    assert blue.sum() > 5000  # the bars of the pictures, in the first of their colours
    white = {scheme: float((shot > 0.9).all(axis=-1).mean()) for scheme, shot in shots.items()}
    assert white["light"] > 0.5
    assert white["dark"] < 0.02  # no picture stays white: letters alone are light


# Which words of headings are broken, and by how many pixels the page is too wide, once it has been laid out.
_MEASURE = r"""<script>addEventListener("load", () => setTimeout(() => {
  const broken = [];
  for (const heading of document.querySelectorAll("h1, h2, h3, .note, .lead, nav a")) {
    const texts = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode())
      for (const word of text.data.matchAll(/[^\s/_.-]+/g)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(word[0]);
      }
  }
  const root = document.documentElement;
  parent.postMessage(JSON.stringify({broken, too_wide: root.scrollWidth - root.clientWidth}), "*");
}, 300))</script>"""
_OUTER = """<iframe src="measured.html" width="390" height="844"></iframe>
<script>addEventListener("message", (message) => { document.title = message.data; })</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page")
def test_on_a_phone_no_word_of_a_title_is_broken_and_nothing_is_cut_off(page: Path, tmp_path: Path) -> None:
    measured = page.read_text(encoding="utf-8").replace("</body>", f"{_MEASURE}</body>")
    (tmp_path / "measured.html").write_text(measured, encoding="utf-8")
    (tmp_path / "outer.html").write_text(_OUTER, encoding="utf-8")  # Chromium's own windows aren't that narrow
    shown = browse(tmp_path / "outer.html", "--virtual-time-budget=3000", "--dump-dom")
    found = re.search(r"<title>(.+?)</title>", shown)
    assert found, "the browser has not laid the page out"
    assert json.loads(unescape(found[1])) == {"broken": [], "too_wide": 0}


def browse(page: Path, *flags: str) -> str:
    """Show a page in a browser without a window; return what it prints."""
    usual = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    shown = subprocess.run(
        [str(CHROMIUM), *usual, *flags, page.as_uri()], check=True, capture_output=True, text=True, timeout=120
    )
    return shown.stdout


def test_damage_is_on_the_page(sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    shutil.copytree(sample_lake, lake)
    shard = next(path for path in sorted((lake / "challenge1" / "R1" / "eeg").rglob("c/**/*")) if path.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    html = report(lake, signals=False)
    assert "1 fault<" in html
    assert "damaged" in html


def test_where_there_is_no_lake_none_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.zarr"), "-o", str(tmp_path / "r.html")]) in (1, 2)
    assert "none.zarr" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
