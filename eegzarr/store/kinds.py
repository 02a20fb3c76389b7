"""How samples can be stored, as types that a signature and a command line share. Imports nothing."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float32", "float16", "int16"]
Compression = Literal["lz4", "zstd", "none"]
