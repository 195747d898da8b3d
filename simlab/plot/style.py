"""How every figure looks: theory as lines, measurements as markers with error bars, one look an algorithm.

Colours are Okabe and Ito's, which colour-blind readers tell apart; marker and line differ too, so that the figures
survive a grey printer. Widths are those of one and of two columns of a paper.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

COLUMN, PAGE = 3.5, 7.2  # inches
FLOOR = (0, (5, 3))  # the line of a limit

RC: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2.0,
    "pdf.fonttype": 42,  # text stays text
}


class Look(NamedTuple):
    """Colour, marker and line of one algorithm; an open marker has a white face."""

    color: str
    marker: str
    line: Any = "-"
    open: bool = False


LOOKS = {
    "DSGD": Look("#0072B2", "o", (0, (6, 2))),
    "DSGD, lr/(1-β)": Look("#56B4E9", "o", (0, (3, 1, 1, 1)), open=True),
    "DmSGD": Look("#D55E00", "s", (0, (4, 1.5, 1, 1.5))),
    "DecentLaM": Look("#009E73", "D", "-"),
    "PmSGD": Look("#000000", "^", (0, (1, 1.5))),
    "AWCDmSGD": Look("#E69F00", "v", (0, (5, 1, 1, 1, 1, 1)), open=True),
    "DADmSGD": Look("#CC79A7", "P", (0, (2, 1))),
    "QGDmSGD": Look("#7A5195", "X", (0, (8, 2, 2, 2))),
    "D2": Look("#8C6D1F", "<", (0, (1, 1, 4, 1))),
    "D2DmSGD": Look("#666666", ">", (0, (3, 3)), open=True),
    "EXTRA": Look("#A50F15", "H", (0, (6, 1, 1, 1))),
    "GradientTracking": Look("#08519C", "8", (0, (1, 1))),
    "NIDS": Look("#31A354", "D", (0, (9, 3)), open=True),
    "DmSGD, Nesterov": Look("#D55E00", "1", (0, (1, 1))),
    "QGDmSGD, Nesterov": Look("#8C6D1F", "2", (0, (1, 2))),
    "EDM": Look("#E69F00", "*", (0, (6, 1)), open=True),
    "MomentumTracking": Look("#08519C", "8", (0, (4, 1, 1, 1)), open=True),
    "DSGTHB": Look("#A50F15", "d", (0, (3, 1))),
    "DSMT": Look("#56B4E9", "h", (0, (8, 2)), open=True),
    "ExactDiffusion": Look("#31A354", "3", (0, (9, 3))),
    "AccDNGD": Look("#444444", "4", (0, (1, 1, 1, 3))),
    # The composite and compressed family, which shares no picture with the lower half above.
    "ProximalDSGD": Look("#0072B2", "h", (0, (6, 2))),
    "ChocoSGD": Look("#E69F00", "p", (0, (4, 1.5, 1, 1.5))),
    "ChocoGossip": Look("#56B4E9", "d", (0, (2, 1)), open=True),
    "MalcomPSGD": Look("#CC79A7", "*", "-"),
    # Methods for networks that change, beside the first ones above: DSGD, DmSGD, DecentLaM, PmSGD.
    "LocalSGD": Look("#E69F00", "v", (0, (5, 1.5))),
    "GossipPGA": Look("#56B4E9", "<", (0, (3, 1, 1, 1)), open=True),
    "PD-SGDM": Look("#CC79A7", "s", (0, (2, 1)), open=True),
    "SlowMo": Look("#7A5195", "P", (0, (8, 2, 2, 2)), open=True),
    "PmSGD, server": Look("#444444", "^", (0, (4, 2, 1, 2, 1, 2)), open=True),
    "SGP": Look("#A50F15", ">", (0, (7, 1, 1, 1))),
    "SubgradientPush": Look("#666666", "X", (0, (1, 1)), open=True),
    "PushDIGing": Look("#8C6D1F", "H", (0, (9, 3)), open=True),
    "ADPSGD": Look("#08519C", "p", (0, (5, 1, 1, 1, 1, 1)), open=True),
    # Networks, in pictures of one method.
    "one-peer": Look("#009E73", "D"),
    "exponential": Look("#0072B2", "o", (0, (6, 2))),
    "ring": Look("#D55E00", "s", (0, (4, 1.5, 1, 1.5))),
    "complete": Look("#444444", "^", (0, (1, 1.5)), open=True),
}


# For whatever is not listed above: an algorithm of one's own, or one that no picture has shown yet.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D1F", "#A50F15")
MARKERS, LINES = "osD^vPX<>Hpd*8h", ("-", (0, (6, 2)), (0, (4, 1.5, 1, 1.5)), (0, (2, 1)), (0, (8, 2, 2, 2)))


def look(algorithm: str) -> Look:
    """The look of an algorithm: listed in `LOOKS`, or drawn from its name, the same in every figure."""
    number = crc32(algorithm.encode())
    drawn = Look(COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)])
    return LOOKS.get(algorithm, drawn)


def mark(axes: Any, x: Any, y: Any, algorithm: str, low: Any = None, high: Any = None, **options: Any) -> None:
    """Draw measurements as the markers of `algorithm`, with error bars from `low` to `high` where they are given."""
    drawn = look(algorithm)
    face = "white" if drawn.open else drawn.color
    x, y = np.asarray(x, float), np.asarray(y, float)
    bars = None if low is None else np.stack([y - np.asarray(low, float), np.asarray(high, float) - y])
    settings: dict[str, Any] = {
        "color": drawn.color, "marker": drawn.marker, "markerfacecolor": face, "linestyle": "none",
        "label": algorithm, "elinewidth": 0.9, "zorder": 3,
    }  # fmt: skip
    axes.errorbar(x, y, bars, **(settings | options))


def line(axes: Any, x: Any, y: Any, algorithm: str, **options: Any) -> None:
    """Draw theory as the line of `algorithm`."""
    drawn = look(algorithm)
    axes.plot(x, y, **({"color": drawn.color, "linestyle": drawn.line, "zorder": 2} | options))


def keys(*lines: Any) -> list[Any]:
    """Grey lines for a legend: what a kind of line means, whatever its algorithm."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color="#555555", linewidth=0.9, linestyle=kind) for kind in lines]
