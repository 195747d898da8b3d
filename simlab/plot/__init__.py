"""Pictures of traces, sweeps, networks and reports, each by one call that returns Matplotlib axes.

They look alike: one colour, marker and line a method, which colour-blind readers and grey printers tell apart; bands
say in the legend what they are. All take `ax`, the axes to draw into, and make their own unless it is given.
"""

from simlab.plot.draw import (
    convergence as convergence,
    network as network,
    report as report,
    sweep as sweep,
)

__all__ = ["convergence", "network", "report", "sweep"]
