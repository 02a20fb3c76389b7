"""Draws anchors.svg: where windows lie with each anchor. Run it after a change: python docs/pictures/anchors.py."""

from pathlib import Path

ROW, LEFT, SCALE, HEIGHT = 64, 120, 26, 16  # px; a second is SCALE wide
EVENTS = [
    (2, 4, "T1"),
    (9, 4, "T2"),
    (16, 4, "T1"),
]  # onset and duration in s, value
ROWS = [
    (
        "event",
        [(onset, 3, value) for onset, _, value in EVENTS],
        "span 0 to 3 s",
    ),
    (
        "interval",
        [(o + k * 2, 2, v) for o, _, v in EVENTS for k in range(2)],
        "span 0 to 2 s, stride 2 s",
    ),
    (
        "recording",
        [(k * 3, 3, "") for k in range(7)],
        "span 0 to 3 s, stride 3 s",
    ),
    (
        "recording + [labels.T1]",
        [(k * 3, 3, "T1" if k in (1, 5, 6) else "no_T1") for k in range(7)],
        "overlap 0.5",
    ),
]
COLOURS = {"T1": "#4c72b0", "T2": "#dd8452", "": "#9aa5b1", "no_T1": "#c9d1d9"}


def box(x: float, y: float, seconds: float, text: str, colour: str) -> str:
    width = seconds * SCALE - 2
    return (
        f'<rect x="{LEFT + x * SCALE + 1:g}" y="{y}" width="{width:g}" height="{HEIGHT}" rx="3" fill="{colour}"/>'
        f'<text x="{LEFT + (x + seconds / 2) * SCALE:g}" y="{y + 12}" text-anchor="middle" font-size="10">{text}</text>'
    )


def drawn() -> str:
    """Return the picture."""
    parts = [
        f'<text x="4" y="26" font-weight="bold">events</text><line x1="{LEFT}" y1="34" x2="700" y2="34" stroke="#888"/>'
    ]
    parts += [
        box(onset, 14, duration, value, COLOURS[value])
        for onset, duration, value in EVENTS
    ]
    for number, (anchor, windows, told) in enumerate(ROWS, 1):
        top = 14 + number * ROW
        name, _, more = anchor.partition(" + ")
        parts.append(
            f'<text x="4" y="{top + 12}" font-weight="bold">{name}</text>'
        )
        parts.append(
            f'<text x="4" y="{top + 26}" font-size="10">{more or told}</text>'
        )
        parts.append(
            f'<line x1="{LEFT}" y1="{top + 20}" x2="700" y2="{top + 20}" stroke="#888"/>'
        )
        parts += [
            box(start, top, length, value, COLOURS[value])
            for start, length, value in windows
        ]
    height = 20 + (len(ROWS) + 1) * ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 710 {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="710" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawn())
