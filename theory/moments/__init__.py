"""Exact moments of a step on quadratics: limit, rate, stationary state, transient.

The formulas: docs/theory.md, "Exact results for quadratics".
"""
