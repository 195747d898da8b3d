"""Networks that change from step to step: each function returns one, which `simulate` takes like any other.

``network.sample(steps, seed, replicate)`` shows the matrices that a run with this seed sees. One of your own:
docs/own_network.md.
"""

from simlab.dynamics.asynchronous import Exponential, asynchronous
from simlab.dynamics.averages import groups, pairwise
from simlab.dynamics.failures import link_failures, node_failures
from simlab.dynamics.matchings import matchings
from simlab.dynamics.noise import noise
from simlab.dynamics.tables import choice, cycle, every, markov, one_peer_exponential

__all__ = [
    "Exponential",
    "asynchronous",
    "choice",
    "cycle",
    "every",
    "groups",
    "link_failures",
    "markov",
    "matchings",
    "node_failures",
    "noise",
    "one_peer_exponential",
    "pairwise",
]
