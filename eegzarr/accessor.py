"""``ds.eegzarr``: tables, selections, averages and pictures, on every Dataset of windows.

Registered when eegzarr is imported. Everything heavy is imported by what needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from eegzarr.errors import UsageError

if TYPE_CHECKING:
    import mne
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from braindecode.datasets import BaseConcatDataset
    from matplotlib.axes import Axes


@xr.register_dataset_accessor("eegzarr")
class WindowsAccessor:
    """Tables, selections, statistics, conversions and pictures of windows.

    On a Dataset that `eegzarr.open_windows` or `xarray.open_zarr` opened, or a selection of it.
    """

    def __init__(self, windows: xr.Dataset) -> None:
        missing = {"window", "channel", "time"} - set(map(str, windows.dims))
        if missing or "eeg" not in windows:
            # Not an AttributeError: xarray replaces one that an accessor raises by its own.
            if "eeg" in windows and missing <= set(map(str, windows.coords)):
                raise UsageError(
                    f"one {', '.join(sorted(missing))} was selected, so that the dimension is gone: select with lists, "
                    "such as .isel(window=[3]), to keep it"
                )
            raise UsageError(
                f".eegzarr is for windows of EEG: this Dataset has no {', '.join(sorted(missing)) or 'eeg'}. "
                "eegzarr.open_windows opens them"
            )
        self._windows = windows

    def __repr__(self) -> str:
        from eegzarr.notebook import as_text

        return as_text("EEG windows", self._facts())

    def _repr_html_(self) -> str:
        from eegzarr.notebook import as_html

        return as_html("EEG windows", self._facts())

    def _facts(self) -> dict[str, object]:
        """Return what the windows are, from metadata and labels; no signal is read."""
        windows = self._windows
        facts: dict[str, object] = {"windows": f"{windows.sizes['window']:,}"}
        if "subject" in windows.coords:
            facts["subjects"] = len(set(windows["subject"].to_numpy().tolist()))
        if "release" in windows.coords:
            facts["releases"] = ", ".join(sorted(set(map(str, windows["release"].to_numpy().tolist()))))
        facts["channels"] = windows.sizes["channel"]
        time = windows["time"].to_numpy()
        facts["time"] = f"{time[0]:g} to {time[-1]:g} s, {len(time)} samples" if len(time) else "none"
        if "target" in windows.coords:
            attributes = windows["target"].attrs
            units = f" ({attributes['units']})" if attributes.get("units") else ""
            facts["target"] = f"{attributes.get('long_name', 'target')}{units}"
        facts["signals"] = f"{windows['eeg'].dtype} in {windows['eeg'].attrs.get('units', 'uV')}"
        if windows.attrs.get("lake"):
            facts["lake"] = windows.attrs["lake"]
        return facts

    def table(self) -> pd.DataFrame:
        """Return the labels as a table, one row per window, without the signals."""
        from eegzarr.store.table import label_table

        return label_table(self._windows)

    def good(
        self,
        *,
        peak_to_peak: float | None = 500.0,
        flat_channels: int | None = 6,
        noisy_channels: int | None = 13,
        bad_channels: int | None = 13,
        availability: Sequence[str] | None = ("available", ""),
        start_kit: bool = True,
    ) -> xr.Dataset:
        """Return the windows without a known fault, lazily.

        Parameters
        ----------
        peak_to_peak : float, optional
            uV; windows in which a channel spans more are left out.
        flat_channels, noisy_channels : int, optional
            Windows of recordings with more such channels are left out.
        bad_channels : int, optional
            Windows of recordings with more channels that channels.tsv calls bad are left out.
        availability : sequence of str, optional
            Flags of participants.tsv to keep; "" is a recording without a flag.
        start_kit : bool
            Leave out the nine subjects that the challenge's start kit leaves out.

        Notes
        -----
        None switches a criterion off. Windows whose signal could not be read are always left
        out. `eegzarr.store.quality` says what flat and noisy mean.
        """
        from eegzarr.store.quality import GoodWindows, good_windows

        wanted = GoodWindows(
            peak_to_peak=peak_to_peak,
            flat_channels=flat_channels,
            noisy_channels=noisy_channels,
            bad_channels=bad_channels,
            availability=availability,
            start_kit=start_kit,
        )
        return good_windows(self._windows, wanted)

    def faults(self) -> pd.DataFrame:
        """Return what is wrong with each window by the criteria of `good`, a column each of True and False."""
        import pandas as pd

        from eegzarr.store.quality import GoodWindows, faults

        return pd.DataFrame(faults(self._windows, GoodWindows()), index=self._windows["window"].to_numpy())

    def describe(self) -> pd.DataFrame:
        """Return statistics of each label that is a number: one row per label."""
        from dataclasses import asdict

        import pandas as pd

        from eegzarr.store.describe import NumberStatistics, label_statistics

        found = label_statistics(self._windows).items()
        numbers = {name: asdict(numbers) for name, numbers in found if isinstance(numbers, NumberStatistics)}
        return pd.DataFrame.from_dict(numbers, orient="index")

    def statistics(self) -> xr.Dataset:
        """Return ``mean`` and ``std`` in uV, (channel,), over exactly these windows; reads each once."""
        from eegzarr.pictures.passes import ChannelMoments, read

        moments = ChannelMoments(self._windows)
        read(self._windows, moments)
        return xr.Dataset(
            {name: ("channel", values, {"units": "uV"}) for name, values in moments.statistics().items()},
            coords={"channel": self._windows["channel"].variable},
        )

    def average(self, by: str | None = None) -> xr.DataArray:
        """Return the average of each condition in uV, (condition, channel, time); reads each window once.

        Parameters
        ----------
        by : str, optional
            Label that defines the conditions; a number with many values is halved at its median.
        """
        from eegzarr.pictures.passes import Averages, read

        averages = Averages(self._windows, by)
        read(self._windows, averages)
        return xr.DataArray(
            averages.mean,
            dims=("condition", "channel", "time"),
            coords={
                "condition": list(averages.conditions.names),
                "windows": ("condition", averages.count),
                "channel": self._windows["channel"].variable,
                "time": self._windows["time"].variable,
            },
            name="eeg",
            attrs={"long_name": "average EEG", "units": "uV"},
        )

    def to_mne(self) -> mne.EpochsArray:
        """Load into MNE; see `eegzarr.to_mne`."""
        from eegzarr.exchange.export import to_mne

        return to_mne(self._windows)

    def to_braindecode(self, target: str = "target") -> BaseConcatDataset[Any]:
        """Load into braindecode; see `eegzarr.to_braindecode`."""
        from eegzarr.exchange.export import to_braindecode

        return to_braindecode(self._windows, target)

    def plot_labels(self, labels: Sequence[str] | None = None) -> npt.NDArray[np.object_]:
        """Draw the distributions of labels; see `eegzarr.pictures.labels.label_distributions`."""
        from eegzarr.pictures.labels import label_distributions

        return label_distributions(self._windows, labels)

    def plot_subjects(self, ax: Axes | None = None) -> Axes:
        """Draw the subjects by age, sex and release."""
        from eegzarr.pictures.labels import subjects

        return subjects(self._windows, ax)

    def plot_losses(self, ax: Axes | None = None) -> Axes:
        """Draw how many windows are lost by reason; see `eegzarr.pictures.labels.losses`."""
        from eegzarr.pictures.labels import losses

        return losses(self._windows, ax)

    def plot_erp(self, by: str | None = None, channel: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw averages by condition; see `eegzarr.pictures.signals.erp`."""
        from eegzarr.pictures.signals import erp

        return erp(self._windows, by, channel, ax)

    def plot_erp_image(
        self, channel: str | None = None, sort_by: str = "rt_from_stimulus", ax: Axes | None = None
    ) -> Axes:
        """Draw single trials sorted by a label; see `eegzarr.pictures.signals.erp_image`."""
        from eegzarr.pictures.signals import erp_image

        return erp_image(self._windows, channel, sort_by, ax)

    def plot_topomap(self, time: float | None = None, ax: Axes | None = None) -> Axes:
        """Draw the average over the scalp; see `eegzarr.pictures.signals.topomap`."""
        from eegzarr.pictures.signals import topomap

        return topomap(self._windows, time, ax)

    def plot_psd(self, ax: Axes | None = None) -> Axes:
        """Draw the power spectral density; see `eegzarr.pictures.signals.psd`."""
        from eegzarr.pictures.signals import psd

        return psd(self._windows, ax)

    def plot_amplitudes(self, threshold: float = 500.0, ax: Axes | None = None) -> Axes:
        """Draw amplitudes and what a threshold rejects; see `eegzarr.pictures.signals.amplitudes`."""
        from eegzarr.pictures.signals import amplitudes

        return amplitudes(self._windows, threshold, ax)

    def plot_traces(self, number: int = 4, channels: list[str] | None = None, ax: Axes | None = None) -> Axes:
        """Draw the signals of some windows with their labels; see `eegzarr.pictures.windows.traces`."""
        from eegzarr.pictures.windows import traces

        return traces(self._windows, number, channels, ax)

    def plot_windows(self, ax: Axes | None = None) -> Axes:
        """Draw how many windows each subject has."""
        from eegzarr.pictures.windows import windows_by_subject

        return windows_by_subject(self._windows, ax)

    def plot_target(self, label: str = "target", ax: Axes | None = None) -> Axes:
        """Draw the target, or another label, in each subject; see `eegzarr.pictures.windows.target_by_subject`."""
        from eegzarr.pictures.windows import target_by_subject

        return target_by_subject(self._windows, label, ax)

    def plot_timeline(self, seconds: float = 30.0, ax: Axes | None = None) -> Axes:
        """Draw where windows lie in the recording of the first one; see `eegzarr.pictures.windows.timeline`."""
        from eegzarr.pictures.windows import timeline

        return timeline(self._windows, seconds, ax)
