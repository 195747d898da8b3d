"""Checks that the networks of this package share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from simlab import checks
from simlab.network import Network, NetworkProcess
from simlab.network.weights import strong_components


def one(name: str, network: Any) -> Network:
    """`network`, if it is one that does not change and mixes."""
    if isinstance(network, NetworkProcess):
        raise TypeError(f"{name} = {network!r} changes already; pass a simlab.Network that does not")
    if not isinstance(network, Network):
        raise TypeError(f"{name} is a {type(network).__name__}; pass a simlab.Network, e.g. simlab.topologies.ring(n)")
    return network


def linked(name: str, network: Any) -> Network:
    """`network`, if it is connected, symmetric, and has links at all."""
    network = mixing(name, network)
    if not network.is_symmetric:
        raise ValueError(f"{name} = {network!r} is directed, and pairs of nodes average; pass an undirected one")
    if network.n_nodes == 1:
        raise ValueError(f"{name} = {network!r} has no link; pass one of at least two nodes")
    return network


def mixing(name: str, network: Any) -> Network:
    """`network`, if it is connected."""
    network = one(name, network)
    if not network.mixes:
        raise ValueError(f"{name} = {network!r} does not mix by itself; pass a connected one")
    return network


def several(name: str, networks: Any) -> list[Network]:
    """The members of a network that changes, if they fit each other."""
    given = checks.each(name, networks, object, "a list of simlab.Network")
    members = [one(f"{name}[{k}]", network) for k, network in enumerate(given)]
    if not members:
        raise ValueError(f"{name} = [] holds no network; pass at least one")
    for k, network in enumerate(members):
        if network.n_nodes != members[0].n_nodes:
            raise ValueError(
                f"{name}[{k}] has n_nodes = {network.n_nodes} and {name}[0] has n_nodes = {members[0].n_nodes}; "
                "pass networks of the same nodes"
            )
    kinds = {network.stochastic for network in members}
    if {"row", "column"} <= kinds:
        raise ValueError(
            f"{name} holds both a network whose rows and one whose columns alone sum to 1; build all with "
            "weights='push', or all with weights='pull'"
        )
    return members


def kind(members: Sequence[Network]) -> dict[str, bool]:
    """What is true of all matrices, as `NetworkProcess` takes it."""
    kinds = {network.stochastic for network in members}
    symmetric = all(network.is_symmetric for network in members)
    return {"double": kinds == {"double"}, "symmetric": symmetric, "column": "column" in kinds}


def check_union(name: str, members: Sequence[Network]) -> None:
    """Raise ValueError unless messages get from every node to every other one, over one member or another."""
    n = members[0].n_nodes
    union = sparse.csr_array((n, n))
    for network in members:
        indptr, indices, values = network.csr
        union = union + abs(sparse.csr_array((values, indices, indptr), (n, n)))
    n_components, component = strong_components(union)
    if n_components > 1:
        apart = int(np.argmax(component != component[0]))
        raise ValueError(
            f"{name} is disconnected even over all its {len(members)} networks: {n_components} components, nodes 0 and "
            f"{apart} never reach each other; add a network that joins them"
        )


def probability(value: Any) -> float:
    """`value`, if it is in [0, 1]."""
    return checks.real("probability", value, minimum=0.0, maximum=1.0)


def listed(networks: Sequence[Network]) -> str:
    """The names of up to three networks."""
    return "; ".join(network.name for network in networks[:3]) + ("; ..." if len(networks) > 3 else "")
