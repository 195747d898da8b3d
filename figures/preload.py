"""What the processes of studies find done, where they are forked: seconds of imports and of first uses of libraries.

Nothing of the project is imported here: the record of a study lists what the study itself imports.
"""

import importlib
import io
import signal

import matplotlib
import numba

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who began all this

for _library in (
    "array_api_compat.numpy", "matplotlib.backends.backend_pdf", "networkx", "pandas", "rich.table", "scipy.optimize",
    "scipy.sparse.linalg", "scipy.stats", "sklearn.datasets",
):  # fmt: skip
    importlib.import_module(_library)

# Numba's first call reads all it knows about types; Matplotlib's first picture looks for fonts and makes parsers.
numba.njit(lambda x: x)(1.0)
with matplotlib.rc_context({"pdf.fonttype": 42}):
    from matplotlib.figure import Figure

    _figure = Figure(layout="constrained")
    _figure.subplots().set(xscale="log", xlabel="$x^2$", yticks=[0, 1])
    for _kind in ("png", "pdf"):
        _figure.savefig(io.BytesIO(), format=_kind)
