"""``python -m eegzarr COMMAND …``."""

from __future__ import annotations

from eegzarr.command import main

if __name__ == "__main__":
    raise SystemExit(main(name="python -m eegzarr"))
