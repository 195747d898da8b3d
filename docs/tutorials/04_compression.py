"""
Compressed messages
===================

Where links are slow, bits matter and steps do not. A compressor sends less and loses something; methods differ in what
they make of that.
"""

# %%
# Three methods on one problem: DSGD sends 32 bits a number; CHOCO-SGD and LEAD send quantized differences to what
# their neighbours know already.

import matplotlib.pyplot as plt

import simlab

problem = simlab.LeastSquares.synthetic(n_nodes=8, n_samples=50, dim=50, heterogeneity=1.0, noise=0.1, seed=0)
network = simlab.topologies.ring(8)
coarse = simlab.compression.DitheredUniform(levels=4, scaled=True)
unbiased = simlab.compression.DitheredUniform(levels=4)
algorithms = {
    "DSGD": simlab.DSGD(lr=0.05),
    "CHOCO-SGD": simlab.ChocoSGD(lr=0.05, consensus_lr=0.4, compressor=coarse),
    "LEAD": simlab.LEAD(lr=0.05, consensus_lr=0.4, compressor=unbiased),
}
runs = simlab.simulate(problem, network, list(algorithms.values()), steps=1500, record_every=10)
traces = dict(zip(algorithms, runs, strict=True))

# %%
# Against steps compression only costs. Against bits it pays; and LEAD, which corrects for what nodes differ in, has
# no bias at which to stop.

fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
simlab.plot.convergence(traces, ax=left)
simlab.plot.convergence(traces, x="bits", ax=right)
right.set_xscale("log")
plt.show()

# %%
# Bits are those of real messages: with a source code they are counted on what was sent in this very run, without its
# being built.

for code in ("fixed", "level", "elias"):
    quantizer = simlab.compression.DitheredUniform(levels=4, code=code)
    lead = simlab.LEAD(lr=0.05, consensus_lr=0.4, compressor=quantizer)
    trace = simlab.simulate(problem, network, lead, steps=1500, record_every=1500)
    print(f"{code}: {trace.frame.payload_bits.iloc[-1] / 1500 / 8 / problem.dim:.2f} bits a number")

# %%
# What it took to come to a given loss: a table for a paper.

print(simlab.table(simlab.first(traces, "mse", 0.1)[["run", "reached", "step", "bits"]]))

# %%
# A compressor of your own is three short methods: :doc:`/own_compressor`.
