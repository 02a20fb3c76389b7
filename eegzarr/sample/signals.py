"""The sample's signals: activity with a 1/f spectrum, alpha rhythms and deflections after targets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from eegzarr.challenge.presets import HBN_CHANNELS
from eegzarr.sample.people import SampleRecording, generator

SFREQ = 100.0
_SOURCES = 24


def simulate(recording: SampleRecording, score: float, seed: int) -> npt.NDArray[np.float64]:
    """Return a recording's signal in uV, (channel, time); the last channel, the reference, is zero.

    Parameters
    ----------
    score : float
        The subject's externalizing score, which alpha power follows.
    """
    n_times = round(recording.duration * SFREQ)
    rng = generator(seed, "signal", recording.stem)
    head = generator(seed, "head")  # the same for everybody
    mixing = head.standard_normal((len(HBN_CHANNELS), _SOURCES)) * head.exponential(0.4, (len(HBN_CHANNELS), _SOURCES))
    topography = head.standard_normal(len(HBN_CHANNELS))
    signal = mixing @ _sources(n_times, np.exp(0.6 * score), rng)
    signal *= 12 / signal.std()
    for onset, latency in _deflections(recording.events, rng):
        time = np.arange(n_times) / SFREQ - onset
        near = (time > -0.5) & (time < 3)
        signal[:, near] += np.outer(topography, 9 * np.exp(-0.5 * ((time[near] - latency) / 0.15) ** 2))
    signal += rng.standard_normal(signal.shape)
    signal[-1] = 0
    return signal


def _sources(n_times: int, alpha: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """1/f activity between 0.5 and 45 Hz; a third of the sources carries an alpha rhythm."""
    freqs = np.fft.rfftfreq(n_times, 1 / SFREQ)
    band = (freqs >= 0.5) & (freqs <= 45)
    spectrum = np.where(band, 1 / np.maximum(freqs, 0.5), 0.0)
    gain = np.zeros((_SOURCES, 1))
    gain[: _SOURCES // 3] = 2.0 * alpha
    peak = np.exp(-0.5 * ((freqs - 10) / 1.0) ** 2) * 0.2
    random = rng.standard_normal((_SOURCES, freqs.size)) + 1j * rng.standard_normal((_SOURCES, freqs.size))
    background = np.fft.irfft(spectrum * random, n_times, axis=1)
    rhythm = np.fft.irfft(peak * random, n_times, axis=1)
    scale = background.std()
    return (background + gain * rhythm) / scale


def _deflections(events: pd.DataFrame, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return (onset of the target, latency of the deflection) in s for each answered target."""
    values = events["value"].astype(str).to_numpy(object) if len(events) else np.empty(0, object)
    onsets = events["onset"].to_numpy(float)
    pairs = []
    for i, value in enumerate(values):
        if value.endswith("_target") and i + 1 < len(values) and values[i + 1].endswith("_buttonPress"):
            reaction = onsets[i + 1] - onsets[i]
            pairs.append((float(onsets[i]), float(0.5 + 0.6 * reaction + 0.06 * rng.standard_normal())))
    return pairs
