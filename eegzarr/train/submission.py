"""``python -m eegzarr.train.submission``: see `eegzarr.challenge.submission`."""

from __future__ import annotations

import sys

from eegzarr.challenge.submission import main

if __name__ == "__main__":
    sys.exit(main())
