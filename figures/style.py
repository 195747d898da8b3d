"""How every figure looks: as all pictures of simlab do, see `simlab.plot.style`."""

from simlab.plot.style import (
    COLORS as COLORS,
    COLUMN as COLUMN,
    FLOOR as FLOOR,
    LINES as LINES,
    LOOKS as LOOKS,
    MARKERS as MARKERS,
    PAGE as PAGE,
    RC as RC,
    Look as Look,
    keys as keys,
    line as line,
    look as look,
    mark as mark,
)
