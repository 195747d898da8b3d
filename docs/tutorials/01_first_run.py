"""
A first run
===========

Eight nodes, each with its own data, agree on one linear model by talking to their neighbours. Three methods do it:
which is fast, and which ends where it should?
"""

# %%
# A run takes a problem, a network and an algorithm. Here every node holds 50 samples of a least squares problem,
# drawn so that the nodes' own solutions differ (``heterogeneity``), and nodes are joined as a grid.

import matplotlib.pyplot as plt

import simlab
import theory

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=30, heterogeneity=1.0, noise=0.1, seed=0)
network = simlab.topologies.grid(8)
algorithms = [simlab.DSGD(lr=0.01), simlab.DmSGD(lr=0.01, momentum=0.9), simlab.DecentLaM(lr=0.01, momentum=0.9)]

fig, ax = plt.subplots(figsize=(2.8, 2.8))
simlab.plot.network(network, ax=ax)
plt.show()

# %%
# :func:`simlab.simulate` runs all of them on the same start and, were there mini-batches, on the same samples. A
# :class:`simlab.Trace` holds what was recorded as a frame: a row for each recorded step.

traces = simlab.simulate(problem, network, algorithms, steps=3000, record_every=20)
traces[0].frame[["step", "mse", "consensus", "loss", "bits"]].tail(3)

# %%
# Momentum is fast, but the usual form of it, DmSGD, stops at some forty times the error at which DSGD stops.
# DecentLaM is as fast as DmSGD and stops where DSGD stops. Dotted lines are what theory expects of these very runs,
# step by step.

predictions = [theory.predict(problem, network, algorithm) for algorithm in algorithms]
simlab.plot.convergence(traces, predictions=predictions)
plt.show()

# %%
# How far is it to an error of 0.1? A table says when each run came to it; text for a paper is ``simlab.table(frame,
# "latex")``.

print(simlab.table(simlab.first(traces, "mse", 0.1)[["run", "reached", "step", "bits"]]))

# %%
# And does the run keep to what is known about it? :func:`theory.verify` holds a trace against its prediction and
# against every theorem whose assumptions hold here.

report = theory.verify(traces[2])
print(report)
simlab.plot.report(report)
plt.show()

# %%
# Traces are files, too: one each, with all that its numbers depend on. A run that was loaded goes on where it ended,
# bit for bit as if it had not: :func:`simlab.resume`.

import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    traces[2].save(Path(folder) / "decentlam.parquet")
    loaded = simlab.Trace.load(Path(folder) / "decentlam.parquet")
longer = simlab.resume(loaded, steps=4000, problem=problem, network=network, algorithm=algorithms[2])
print(longer)
