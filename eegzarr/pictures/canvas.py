"""How all pictures look, and how they become files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from eegzarr.errors import UsageError
from eegzarr.extras import needs

with needs("plot", "a picture"):
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "ON_A_MAP",
    "PAPER",
    "LogLocator",
    "MaxNLocator",
    "as_svg",
    "figure_of",
    "new_axes",
    "one_axes",
    "save",
    "style",
]

INK, FAINT, PAPER, _GRID = "#24323f", "#8a97a3", "#ffffff", "#e6eaee"
# Okabe & Ito's colours, which people with any colour vision tell apart, with our ink as their black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A", INK)
# On a heat map, which is as bright on a dark page as on a white one.
ON_A_MAP = "#000000"
# What these become on a dark page; the others are seen on both.
_IN_THE_DARK = {INK: "#dfe6ec", PAPER: "#1b242c", _GRID: "#33414d", COLOURS[0].lower(): "#3f9bd8"}
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "eegzarr",  # the same picture is the same bytes
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in eegzarr's style, inside the ``with``; the reader's own settings stay as they are."""
    with mpl.rc_context(_STYLE):
        yield


def new_axes(width: float = 6.4, height: float = 3.6, columns: int = 1, rows: int = 1) -> np.ndarray:
    """Return axes of a new figure, (row, column), of `width` x `height` inches each.

    The figure is not pyplot's: nothing keeps it once its axes are let go.
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return np.asarray(figure.subplots(rows, columns, squeeze=False))


def one_axes(ax: Axes | None, width: float = 5.4, height: float = 3.2) -> Axes:
    """Return the axes given, or new ones."""
    if ax is not None:
        return ax
    made = new_axes(width, height)[0, 0]
    assert isinstance(made, Axes)
    return made


def figure_of(drawn: Axes | Iterable[Axes]) -> Figure:
    """Return the figure that axes are on."""
    ax = drawn if isinstance(drawn, Axes) else next(iter(np.ravel(np.asarray(drawn, dtype=object))))
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def save(drawn: Axes | Iterable[Axes], path: str | Path) -> None:
    """Write the figure that axes are on; the suffix says as what.

    Raises
    ------
    UsageError
        If the file can't be written, or matplotlib doesn't know its suffix.
    """
    path = Path(path)
    figure = figure_of(drawn)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise UsageError(f"{path} must end in one of .{', .'.join(sorted(known))}")
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error


def as_svg(drawn: Axes | Iterable[Axes]) -> bytes:
    """Return the figure that axes are on as an SVG document, the same bytes for the same picture.

    Where it is shown on a dark page, its colours are those of one.
    """
    content = io.BytesIO()
    with style():
        figure_of(drawn).savefig(content, format="svg", metadata={"Date": None})
    # Matplotlib writes colours into the style of each element, as `fill: #24323f`.
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in _IN_THE_DARK.items()
        for part in ("fill", "stroke")
    )
    dark = f"@media (prefers-color-scheme: dark){{{rules}}}</style>".encode()
    return content.getvalue().replace(b"</style>", dark, 1)
