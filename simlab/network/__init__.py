"""The network: a mixing matrix, the rules that weigh its edges, and its spectrum."""

from simlab.network.network import CSR, Network

__all__ = ["CSR", "Network"]
