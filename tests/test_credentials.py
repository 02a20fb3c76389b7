"""Users, passwords and tokens of a URL reach what they open, and no attribute, log or message."""

from __future__ import annotations

import base64
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import eegzarr
from eegzarr.errors import LakeError, redacted
from eegzarr.store.open import selection_statistics
from eegzarr.store.provenance import lake_of

ASKED = "Basic " + base64.b64encode(b"ada:secret").decode()


class Guarded(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers.get("Authorization") != ASKED:
            self.send_error(401)
            return
        super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(sample_lake: Path) -> Iterator[str]:
    """The lake behind a password that the URL has."""
    handler = functools.partial(Guarded, directory=str(sample_lake.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://ada:secret@127.0.0.1:{server.server_address[1]}/{sample_lake.name}"
        server.shutdown()


def test_windows_keep_no_password_and_are_read_with_it(url: str, sample_lake: Path) -> None:
    windows = eegzarr.open_windows(url, "challenge1")
    assert windows.attrs["lake"] == url.replace("ada:secret@", "")
    assert "secret" not in str(windows.attrs) + repr(windows)
    local = eegzarr.open_windows(sample_lake, "challenge1")
    some = windows.isel(window=slice(3, 5), channel=[2, 1])
    assert lake_of(some) == url
    np.testing.assert_array_equal(some["eeg"], local["eeg"][3:5, [2, 1]])
    xr.testing.assert_equal(windows["age"].load(), local["age"].load())
    expected = selection_statistics(local.isel(window=[3, 4], channel=[2, 1]))
    np.testing.assert_array_equal(selection_statistics(some)["mean"], expected["mean"])
    with pytest.raises(LakeError) as refused:
        eegzarr.open_windows(url, "challenge3")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("s3://key:secret@bucket/lake.zarr isn't a lake", "s3://bucket/lake.zarr isn't a lake"),
        ("'ftp://ada:p/w:x@host/a'", "'ftp://host/a'"),
        ("https://host/a?X-Amz-Signature=secret&b=1 and more", "https://host/a and more"),
        ("https://host/a?se=2026&sig=secret", "https://host/a"),
        ("gs://bucket/a?apikey=secret", "gs://bucket/a"),
        ("https://host/a?password=secret", "https://host/a"),
        ("https://host/a?page=2", "https://host/a?page=2"),
        ("mail ada@host.org", "mail ada@host.org"),
    ],
)
def test_a_text_keeps_all_but_credentials(given: str, told: str) -> None:
    assert redacted(given) == told
