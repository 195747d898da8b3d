"""The studies, one module a figure or table; `python -m figures.<name>` runs one, `python -m figures` all."""

import os

STUDIES = (
    "convergence",
    "bias_vs_batch_size",
    "bias_vs_momentum",
    "topologies",
    "transients",
    "linear_speedup",
    "consensus_noise",
    "critical_batch_size",
    "theorem_table",
    "spectral_gaps",
    "malcom_convergence",
    "malcom_ablation",
    "malcom_bits",
    "malcom_rate",
    "sparsity",
    "local_steps",
    "directed",
    "time_to_accuracy",
    "random_momentum",
    "link_failures",
    "one_peer",
    "asynchrony",
    "local_steps_theory",
    "worst_case",
    "worst_theorems",
    "momentum_methods",
    "fewer_messages",
    "tuned",
    "unequal_nodes",
    "adaptive_bias",
    "large_batch",
)
NEEDS = {"large_batch": "jax"}  # the library, and the extra of its name, that a study needs beyond the project's own

# Before NumPy loads: the matrices of the studies are small, and BLAS threads that wait for each other on busy cores
# made all of it four times slower.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
