"""Exact moments of a step on quadratics: limit, rate, stationary state, transient."""
