"""Tables of texts as LaTeX, Markdown and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FORMATS = ("markdown", "latex", "html")
NO_BREAK = "\N{NO-BREAK SPACE}"


def rendered(
    heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], format: str, caption: str = ""
) -> str:
    """A table of texts; which columns are aligned to the right."""
    if format == "latex":
        lines = [" & ".join(map(latex, line)) + r" \\" for line in (heads, *cells)]
        columns = "".join("r" if each else "l" for each in right)
        body = "\n".join([r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"])
        return f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"
    if format == "html":
        style = [' style="text-align:right"' if each else "" for each in right]
        head = "".join(f"<th{s}>{html.escape(name)}</th>" for s, name in zip(style, heads, strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td{s}>{html.escape(c)}</td>" for s, c in zip(style, line, strict=True)) + "</tr>\n"
            for line in cells
        )
        above = f"<caption>{html.escape(caption)}</caption>\n" if caption else ""
        return f"<table>\n{above}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    escaped = [[cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in (heads, *cells)]
    rule = ["---:" if each else "---" for each in right]
    return "\n".join("| " + " | ".join(line) + " |" for line in (escaped[0], rule, *escaped[1:])) + "\n"


def number(value: Any, digits: int = 4) -> str:
    """A value as a cell: numbers to so many digits, nothing for NaN and None."""
    if value is None or value != value:
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.0f}" if value == round(value) and abs(value) < 10 ** max(digits, 6) else f"{value:.{digits}g}"
    return str(value)


def described(caption: str, about: Mapping[str, Any]) -> str:
    """Names and values as a table in HTML, for notebooks."""
    return rendered(("", ""), [(name, number(value)) for name, value in about.items()], (False, True), "html", caption)


SYMBOLS = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\~{}",
    "<": r"$<$", ">": r"$>$", "≤": r"$\le$", "φ": r"$\varphi$", "γ": r"$\gamma$", "κ": r"$\kappa$", "λ": r"$\lambda$",
    "μ": r"$\mu$", "ρ": r"$\rho$", "σ": r"$\sigma$", "ς": r"$\varsigma$", "β": r"$\beta$", "δ": r"$\delta$",
    "ζ": r"$\zeta$", "ω": r"$\omega$", "π": r"$\pi$", "ψ": r"$\psi$", "x̄": r"$\bar x$", "√": r"$\surd$",
    "²": r"$^2$", "ₙ": r"$_n$", "₁": r"$_1$", "₂": r"$_2$", "Σ": r"$\Sigma$", "∇": r"$\nabla$", "−": r"$-$",
    "ε": r"$\epsilon$", "α": r"$\alpha$", "τ": r"$\tau$", "ξ": r"$\xi$", "η": r"$\eta$",
    "θ": r"$\theta$", "χ": r"$\chi$",
    "‖": r"$\|$", "⌈": r"$\lceil$", "⌉": r"$\rceil$", "≠": r"$\ne$", "±": r"$\pm$", "∞": r"$\infty$",
    "\\": r"\textbackslash{}",
    NO_BREAK: "~",
}  # fmt: skip


def latex(text: str) -> str:
    """A text as LaTeX."""
    return re.sub("x̄|.", lambda found: SYMBOLS.get(found[0], found[0]), text, flags=re.DOTALL)
