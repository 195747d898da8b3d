"""The network: a mixing matrix, the rules that weigh its edges, and its spectrum."""

from simlab.network.network import CSR, Network
from simlab.network.process import Exchanges, NetworkProcess

AnyNetwork = Network | NetworkProcess

__all__ = ["CSR", "AnyNetwork", "Exchanges", "Network", "NetworkProcess"]
