"""
Sweeps on a cluster
===================

Hundreds of runs, on many cores and machines, that may be killed at any time: a grid of cells, and a folder that keeps
what is done.
"""

# %%
# A cell is known by all that its numbers depend on: data, weights, the method and its code, settings, precision.
# Lists of settings of one method share a cell, for they share a run.

import tempfile

import matplotlib.pyplot as plt

import simlab

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=10, heterogeneity=1.0, noise=0.1, seed=0)
rates = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
cells = simlab.grid(
    problem=problem,
    network={"ring": simlab.topologies.ring(8), "complete": simlab.topologies.complete(8)},
    algorithm=[simlab.DSGD(lr) for lr in rates] + [simlab.DecentLaM(lr) for lr in rates],
    batch_size=10,
    seed=[0, 1, 2],
    steps=400,
    record_every=100,
)
print(len(cells), "cells")

# %%
# Two local processes, each with one thread. Runs that diverge, and cells that fail, are rows like the others and say
# why; the rest goes on.

folder = tempfile.mkdtemp()
frame = simlab.sweep(cells, folder, workers=2)
print(frame["status"].value_counts().to_string())
print(frame[frame["status"] == "diverged"]["reason"].iloc[0])

# %%
# On many machines the workers of a `Dask <https://docs.dask.org>`_ cluster run the same cells, and give the same
# results to the last bit. They have to see the folder. Here the cluster is two threads of this process; another one
# only changes what the client connects to. What the folder holds already would not be run again.

from dask.distributed import Client, LocalCluster

with (
    LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
    Client(cluster) as client,
):
    same = simlab.sweep(cells, tempfile.mkdtemp(), client=client)
print("the same to the last bit:", same["mse"].equals(frame["mse"]))

# %%
# The results of any number of sweeps are read without running anything. A picture shows means over what is on no
# axis, with their 95 % intervals.

loaded = simlab.load_sweep(folder, network="ring")
simlab.plot.sweep(loaded, x="lr", y="mse")
plt.show()

# %%
# The same from a terminal: ``simlab sweep FILE.toml`` and ``simlab report FOLDER``, see :doc:`/command`. A single
# long run is safe by ``simlab.simulate(..., checkpoint="run.parquet")``: started again, it goes on where the last
# checkpoint was.
