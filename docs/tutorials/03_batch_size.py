"""
A batch-size study
==================

A larger batch makes gradients less noisy, but what a method's bias leaves it does not touch: from some batch size on it
buys nothing. Where that is depends on the method.
"""

# %%
# A study is a grid: every combination of batch sizes and methods, each in several replicates. :func:`simlab.grid`
# takes the arguments of :func:`simlab.simulate`, each as one value, a list, or a dict of names.

import tempfile

import matplotlib.pyplot as plt

import simlab
import theory

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=64, dim=10, heterogeneity=1.0, noise=0.5, seed=1)
network = simlab.topologies.grid(8)
algorithms = [simlab.DmSGD(lr=0.005, momentum=0.9), simlab.DecentLaM(lr=0.005, momentum=0.9)]
sizes = [1, 2, 4, 8, 16, 32, 64]
cells = simlab.grid(
    problem=problem,
    network=network,
    algorithm=algorithms,
    batch_size=sizes,
    replicates=20,
    steps=2000,
    record_every=2000,
    x0=problem.minimizer,
)

# %%
# :func:`simlab.sweep` runs the cells that its folder does not hold yet and returns all results. Killed, it is simply
# started again; a second call costs the reading of the folder.

folder = tempfile.mkdtemp()
frame = simlab.sweep(cells, folder, workers=0)
again = simlab.sweep(cells, folder, workers=0)
print(again[["algorithm", "batch_size", "replicate", "mse", "status"]].head(3))

# %%
# Means over replicates with their 95 % intervals, and beside them what theory expects: the bias, which no batch
# removes, and a variance that falls with the batch size.

ax = simlab.plot.sweep(frame, x="batch_size", y="mse")
for algorithm in algorithms:
    expected = [theory.predict(problem, network, algorithm, batch_size=size).mse for size in sizes]
    ax.plot(sizes, expected, "k:", linewidth=0.8)
plt.show()

# %%
# Where larger batches stop to pay is where the variance is equal to the bias.

for algorithm in algorithms:
    critical = theory.critical_batch_size(problem, network, algorithm)
    print(f"{type(algorithm).__name__}: {critical:.1f} samples a node and step")
