"""What an algorithm asks of its compressor: that it contracts, or that it is unbiased."""

from __future__ import annotations

from typing import Any

from simlab import checks


@checks.keywords
def check_contraction(compressor: Any, dim: int) -> float:
    """Omega of a compressor at dimension `dim`.

    Raises
    ------
    TypeError
        If it is no compressor; a `kernel` is asked for by the compiled engine alone.
    ValueError
        If its parameters are impossible, or if it is no contraction: E||C(v) - v||^2 <= (1 - omega)||v||^2 needs
        0 < omega <= 1.
    """
    form = "compose" if hasattr(compressor, "compose") else "compress"
    missing = " and no ".join(f"`{name}`" for name in (form, "contraction") if not hasattr(compressor, name))
    if missing or isinstance(compressor, type):
        problem = f"{compressor!r} has no {missing}" if missing else f"{compressor.__name__} is a class"
        raise TypeError(
            f"compressor = {problem}; pass an instance such as simlab.compression.QSGD(levels=16, scaled=True), "
            "or write one (docs/own_compressor.md)"
        )
    omega = compressor.contraction(checks.integer("dim", dim, minimum=1))
    if not 0 < omega <= 1:
        raise ValueError(
            f"compressor = {compressor!r} is not a contraction for messages of {dim} numbers: its error may be "
            f"{1 - omega:.3g} times the message's squared norm; use scaled=True, or more levels"
        )
    return float(omega)


@checks.keywords
def check_unbiased(compressor: Any, dim: int) -> float:
    """The q in E||C(v) - v||^2 <= q||v||^2 of an unbiased compressor at dimension `dim`.

    Raises
    ------
    TypeError
        If it does not say that it is unbiased, by a method ``variance_factor(dim)``.
    ValueError
        If its parameters are impossible, or if it is scaled to be a contraction.
    """
    if isinstance(compressor, type) or not hasattr(compressor, "variance_factor"):
        raise TypeError(
            f"compressor = {compressor!r} is not known to be unbiased; pass one such as QSGD(levels=16) "
            "or RandomK(k, unbiased=True), or make it so by simlab.compression.Induced"
        )
    if getattr(compressor, "scaled", False):
        raise ValueError(f"compressor = {compressor!r} is scaled, and so biased; leave scaled out")
    return float(compressor.variance_factor(checks.integer("dim", dim, minimum=1)))
