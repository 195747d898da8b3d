"""One self-contained page of the results in a folder: of studies, or of a sweep."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import STUDIES, record
from simlab.markup import rendered
from simlab.plot.style import RC
from simlab.tables import table

if TYPE_CHECKING:
    import pandas as pd

ROWS = 200  # of a table that are shown
TITLE = 40  # signs in a line of a picture's title
TRACES = 6  # cells whose convergence is shown
STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
img { width: 29.5rem; max-width: 100%; vertical-align: top; background: white; border-radius: 4px; }
img { margin: 0 1rem 1rem 0; } h2 + p + img { width: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .82rem; margin: .6rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .2rem .6rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; } summary { cursor: pointer; color: var(--dim); }
pre { overflow-x: auto; font-size: .78rem; } .holds { color: #009E73; } .violated { color: #D55E00; font-weight: 600; }
.inconclusive { color: #B07A00; } nav a { margin-right: .9rem; } .dim { color: var(--dim); }
"""


def page(folder: str | Path) -> str:
    """HTML of what is in a folder: pictures, tables, verdicts, provenance, all of it within.

    Parameters
    ----------
    folder : path
        Where `simlab run` or `simlab.sweep` has written.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        There are no results in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder = {str(folder)!r} does not exist; pass one that simlab run or simlab sweep has filled"
        )
    found = [name for name in STUDIES if (folder / f"{name}.json").exists()]
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(RC):
        parts = list(_studies(found, folder)) if found else list(_sweep(folder))
    return _whole(f"Results in {folder.resolve().name}", parts)


def _studies(names: list[str], folder: Path) -> Iterator[str]:
    counts = Counter(claim.verdict for name in names for claim in record.claims(name, folder))
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    links = "".join(f'<a href="#{name}">{name}</a> ' for name in names)
    yield f"<p>{len(names)} studies; claims: {summary}.</p><nav>{links}</nav>"
    for name in names:
        import pandas as pd

        about = record.read(name, folder)
        yield f'<h2 id="{name}">{name}</h2><p>{html.escape(about["study"])}</p>'
        picture = folder / f"{name}.png"
        if picture.exists():
            yield _image(picture.read_bytes(), name)
        claims = [(c.verdict, c.name, c.statement, c.measured, c.expected) for c in record.claims(name, folder)]
        shown = rendered(
            ("verdict", "claim", "statement", "measured", "expected"), claims, [False] * 5, "html", "Verdicts"
        )
        for verdict in ("holds", "violated", "inconclusive"):
            shown = shown.replace(f"<td>{verdict}</td>", f'<td class="{verdict}">{verdict}</td>')
        yield f'<div class="wide">{shown}</div>'
        data = folder / f"{name}.csv"
        if data.exists():
            columns = "".join(
                f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in about["columns"].items()
            )
            yield _details("Data", _table(pd.read_csv(data)) + f"<dl>{columns}</dl>")
        kept = {key: about[key] for key in ("settings", "seconds", "environment") if key in about}
        yield _details("Provenance", f"<pre>{html.escape(json.dumps(kept, indent=2, ensure_ascii=False))}</pre>")


def _sweep(folder: Path) -> Iterator[str]:
    import matplotlib.pyplot as plt

    import simlab
    from simlab.sweeps.store import path_of

    frame = simlab.load_sweep(folder)
    counts = ", ".join(f"{count} {status}" for status, count in frame["status"].value_counts().items())
    yield f"<p>{frame['cell'].nunique()} cells, {len(frame)} runs: {counts}.</p>"
    measure = "mse" if "mse" in frame and frame["mse"].notna().any() else "loss"
    end = list(frame.columns).index("replicate")
    varied = [name for name in frame.columns[:end] if frame[name].nunique(dropna=False) > 1 and name != "algorithm"]
    numeric = [
        name for name in varied if frame[name].dtype.kind in "iuf" and frame[name].nunique() > 1 and name != "seed"
    ]
    if measure in frame and frame[measure].notna().any():
        yield "<h2>What was varied</h2>"
        hyperparameters = list(frame.columns[list(frame.columns).index("algorithm_class") + 1 : end])
        for name in numeric:
            tuned = [other for other in numeric if other != name and other in hyperparameters]
            others = [other for other in varied if other not in (name, *tuned, "seed") and frame[other].nunique() > 1]
            hue = "algorithm_class" if "algorithm_class" in others or not others else others[0]
            for chosen, part in _panels(frame, [other for other in others if other != hue]):
                best = _best(part, [name, hue], tuned, measure)
                ax = simlab.plot.sweep(best, name, measure, hue=hue)
                at = f"the best {', '.join(tuned)}" if tuned else ""
                ax.set_title(textwrap.fill("; ".join(filter(None, (chosen, at))), TITLE))
                yield _image(_png(ax.figure), f"{measure} against {name} {chosen}")
                plt.close(ax.figure)
        yield "<h2>On the way</h2>"
        done = frame[frame["status"].isin(["finished", "stopped"])].sort_values(measure)
        for key in done["cell"].drop_duplicates()[:TRACES]:
            row = done[done["cell"] == key].iloc[0]
            ax = simlab.plot.convergence(simlab.load_traces(path_of(folder, key)), measure)
            about = [f"{name}={row[name]}" for name in varied if name in ("network", "problem", "batch_size", "seed")]
            ax.set_title(textwrap.fill(", ".join(about), TITLE))
            yield _image(_png(ax.figure), f"convergence of {key}")
            plt.close(ax.figure)
    failed = frame[frame["status"].isin(["failed", "lost", "diverged"])]
    if len(failed):
        shown = failed[
            ["cell", "algorithm", *[name for name in varied if name != "algorithm_class"], "status", "reason"]
        ]
        yield f"<h2>What failed or diverged</h2>{_table(shown.drop_duplicates())}"
    last = [name for name in ("step", "mse", "consensus", "loss", "bits", "time", "status") if name in frame]
    shown = ["algorithm", *[name for name in varied if name != "algorithm_class"], "replicate"]
    yield "<h2>Results</h2>" + _table(frame.sort_values(shown)[[*shown, *last]])
    for key in frame[frame["status"] != "failed"]["cell"][:1]:
        provenance = simlab.load_traces(path_of(folder, key))[0].provenance
        yield _details(
            "Provenance of one cell", f"<pre>{html.escape(json.dumps(provenance, indent=2, ensure_ascii=False))}</pre>"
        )


def _panels(frame: pd.DataFrame, names: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The frame cut by what is on no axis, one part a picture."""
    if not names:
        yield "", frame
        return
    for chosen, part in frame.groupby(names, dropna=False):
        yield ", ".join(f"{name}={value}" for name, value in zip(names, chosen, strict=True)), part


def _best(frame: pd.DataFrame, by: list[str], tuned: list[str], measure: str) -> pd.DataFrame:
    """Of each group the rows with those values of the tuned columns that have the least mean of what is measured."""
    if not tuned:
        return frame
    sound = frame["status"].isin(["finished", "stopped"])
    score = (
        frame[measure]
        .where(sound, math.inf)
        .groupby([frame[name] for name in (*by, *tuned)], dropna=False)
        .transform("mean")
    )
    least = score.groupby([frame[name] for name in by], dropna=False).transform("min")
    return frame[(score == least) & (sound | (least == math.inf))]


def _table(frame: pd.DataFrame) -> str:
    more = f'<p class="dim">{len(frame) - ROWS} more rows in the files.</p>' if len(frame) > ROWS else ""
    return f'<div class="wide">{table(frame.head(ROWS), "html")}</div>{more}'


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()


def _image(png: bytes, about: str) -> str:
    return f'<img alt="{html.escape(about)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _whole(title: str, parts: list[str]) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><h1>{html.escape(title)}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
