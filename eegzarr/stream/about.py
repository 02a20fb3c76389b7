"""What streams and datasets say about their windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eegzarr.notebook import as_html
from eegzarr.store.provenance import Part
from eegzarr.stream.rows import WindowRows

_NAMED = 4  # groups


class AboutWindows:
    """Properties of windows that are given as rows."""

    _rows: WindowRows

    @property
    def left_out(self) -> dict[str, int]:
        """Windows of the selection that are not given, by reason."""
        return dict(self._rows.selection.left_out)

    @property
    def targets(self) -> npt.NDArray | None:
        """Targets of all windows, in the order of the selection; None with ``target=None``."""
        return self._rows.selection.targets.values

    @property
    def classes(self) -> Any:
        """Names of the classes that y counts, None where it has numbers; of several targets a tuple of each."""
        return self._rows.selection.targets.classes

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of x."""
        return self._rows.selection.channels

    @property
    def positions(self) -> npt.NDArray[np.float32]:
        """Where electrodes are, (channel, 3), in m; NaN where unknown."""
        return self._rows.selection.positions

    @property
    def sampling_rate(self) -> float:
        """Hz; NaN where times aren't evenly spaced."""
        return self._rows.selection.sampling_rate

    @property
    def n_times(self) -> int:
        """Samples of a window in x."""
        return self._rows.shape.n_times

    @property
    def scale(self) -> float:
        """uV per unit of x: the step of integers with ``dtype="int16"``, else 1."""
        return self._rows.scale

    @property
    def n_windows(self) -> int:
        """Windows in an epoch, over all ranks."""
        return len(self._rows.selection)

    @property
    def subjects(self) -> set[str]:
        """Subjects that the windows are of."""
        return set(self._rows.selection.subjects)

    @property
    def is_remote(self) -> bool:
        """Whether windows come from a URL."""
        return self._rows.is_remote

    def _repr_html_(self) -> str:
        facts: dict[str, object] = {"of": self._groups(), "windows": f"{self.n_windows:,}"}
        facts["subjects"] = len(self.subjects)
        facts["x"] = f"{len(self.channels)} channels × {self.n_times} samples at {self.sampling_rate:g} Hz"
        targets = self.targets
        facts["y"] = "none" if targets is None else str(self.classes or targets.dtype)
        left_out = {reason: count for reason, count in self.left_out.items() if count}
        if left_out:
            facts["left out"] = ", ".join(f"{count:,} with {reason}" for reason, count in left_out.items())
        if batches := self._batches():
            facts["batches"] = batches
        return as_html(type(self).__name__, facts)

    def _batches(self) -> str:
        """Return which batches come in which order, "" where windows are asked for one by one."""
        return ""

    def _groups(self) -> str:
        """Return what the windows are of, the first groups by name."""
        groups = [source.group if isinstance(source, Part) else "memory" for source in self._rows.selection.sources]
        groups = list(dict.fromkeys(filter(None, groups)))
        return ", ".join(groups[:_NAMED]) + (f" and {len(groups) - _NAMED} more" if len(groups) > _NAMED else "")

    def _summary(self) -> str:
        """Return what is given, on a line."""
        shape, selection = self._rows.shape, self._rows.selection
        scaled = f"{self.scale:g} uV" if shape.dtype == "int16" else "uV"
        unit = scaled if shape.normalize is None else f"normalised by {shape.normalize}"
        y = "no y" if selection.targets.values is None else f"y {selection.targets.values.dtype}"
        if isinstance(self.classes, tuple):
            y += f" of {len(self.classes)} {'classes' if selection.targets.values.ndim == 1 else 'targets'}"  # type: ignore[union-attr]
        left_out = ", ".join(f"{count} with {reason}" for reason, count in self.left_out.items() if count)
        return (
            f"{self._groups()}: {self.n_windows} windows of {shape.n_channels} channels x {shape.n_times} samples at "
            f"{self.sampling_rate:g} Hz, {shape.dtype} ({unit}), {y}; {len(self.subjects)} subjects"
            + (f"; left out: {left_out}" if left_out else "")
        )
