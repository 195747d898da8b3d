"""
Networks that change
====================

Links fail, nodes sleep, exchanges are rare. A network that changes is drawn from a stream of its own and handed to
:func:`simlab.simulate` like any other.
"""

# %%
# Four ways to send less than over all links in every step: half the links down at any time, matchings that are
# switched on with half the budget, one exchange in five steps, and one peer at a time along an exponential graph.

import matplotlib.pyplot as plt

import simlab
import theory

ring = simlab.topologies.ring(8)
networks = {
    "ring": ring,
    "link failures": simlab.dynamics.link_failures(ring, probability=0.5),
    "matchings": simlab.dynamics.matchings(ring, budget=0.5),
    "every 5th step": simlab.dynamics.every(ring, 5),
    "one peer": simlab.dynamics.one_peer_exponential(8),
}

fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
for ax, name in zip(axes, ("ring", "link failures", "one peer"), strict=True):
    simlab.plot.network(networks[name], ax=ax)
plt.show()

# %%
# All methods run on those that they are fit for. The bands are 95 % intervals over replicates, which differ in which
# links fail.

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=30, dim=3, heterogeneity=1.0, noise=0.1, seed=0)
traces = {
    name: simlab.simulate(problem, network, simlab.DSGD(lr=0.05), steps=600, replicates=20)
    for name, network in networks.items()
}
simlab.plot.convergence(traces)
plt.show()

# %%
# Theory knows the law of these networks and expects every step of them exactly. Where steps repeat with a period, its
# numbers are means over one.

for name, network in networks.items():
    prediction = theory.predict(problem, network, simlab.DSGD(lr=0.05))
    measured = traces[name].frame.query("step > 300").mse.mean()
    print(f"{name:15} expected {prediction.mse:.3e}, measured {measured:.3e}")

# %%
# How long does it take on machines? :class:`simlab.Cluster <simlab.cluster.Cluster>` models compute times and links:
# here one node computes ten times more slowly than the others, and all wait for it, neighbours first.

cluster = simlab.Cluster(compute=[0.1] + 7 * [0.01], latency=0.001, bandwidth=1e6)
slow = simlab.simulate(problem, ring, simlab.DSGD(lr=0.05), steps=600, record_every=10, cluster=cluster)
waiting = simlab.dynamics.asynchronous(ring, compute=[0.1] + 7 * [0.01])
free = simlab.simulate(problem, waiting, simlab.ADPSGD(lr=0.05), steps=8 * 600, record_every=80)
ax = simlab.plot.convergence({"DSGD, all wait": slow, "AD-PSGD, nobody waits": free}, x="time")
ax.set_xlim(0, 8)
plt.show()

# %%
# A process of your own is one method: :doc:`/own_network`.
