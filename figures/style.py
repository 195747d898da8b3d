"""How every figure looks: as all pictures of simlab do, see `simlab.plot.style`."""

from simlab.plot.style import (
    COLUMN as COLUMN,
    FLOOR as FLOOR,
    LOOKS as LOOKS,
    PAGE as PAGE,
    RC as RC,
    Look as Look,
    keys as keys,
    line as line,
    look as look,
    mark as mark,
)
