"""
Your own method
===============

A method is one class with ``init`` and ``step``. Nothing else has to be written to run it compiled, to predict it and
to judge its runs. Here it is exact diffusion, in fifteen lines; what a step may use, and all that is optional, is in
:doc:`/own_algorithm`.
"""

# %%
# Fields are hyperparameters, the state is whatever has to be remembered, ``x`` first: arrays of a row a node.

from typing import Any, NamedTuple

import matplotlib.pyplot as plt

import simlab
import theory
from simlab.operations import gradient, mix


class State(NamedTuple):
    x: Any
    psi: Any


class MyDiffusion(NamedTuple):
    lr: float

    def init(self, x):
        return State(x, x)

    def step(self, state, problem, network, batch):
        psi = state.x - self.lr * gradient(problem, state.x, batch)
        corrected = psi + state.x - state.psi
        return State((corrected + mix(network, corrected)) / 2, psi)


# %%
# It runs like any other, beside any other, here with mini-batches of 10 and in 20 independent replicates. The bands
# are 95 % confidence intervals of the means.

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=10, heterogeneity=1.0, noise=0.1, seed=0)
network = simlab.topologies.ring(8)
algorithms = [MyDiffusion(lr=0.05), simlab.DSGD(lr=0.05)]
traces = simlab.simulate(problem, network, algorithms, steps=600, record_every=10, batch_size=10, replicates=20)
predictions = [theory.predict(problem, network, algorithm, batch_size=10) for algorithm in algorithms]
simlab.plot.convergence(traces, predictions=predictions)
plt.show()

# %%
# Theory reads the method off its step: its rate, its limit, the largest stable step size.

prediction = theory.predict(problem, network, MyDiffusion(lr=0.05))
limit = theory.stability_limit(problem, network, MyDiffusion(lr=0.05))
print(f"rate {prediction.rate:.4f}, bias {prediction.bias:.1e}, stable up to lr = {limit:.3f}")

# %%
# That is what the compiled engine has made of it: everything between two exchanges is one loop over nodes.

source = simlab.generated_source(problem, network, MyDiffusion(lr=0.05))
print(source[source.index("def run") : source.index("PARAMETERS =")])
