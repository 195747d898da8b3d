"""Every algorithm of the registry, in every form: the one list that tests go through."""

from __future__ import annotations

import itertools
from typing import Any

import simlab
import simlab.algorithms
from simlab.algorithms.table import names
from simlab.schedules import choices

# The same path as another one at some hyperparameters (tests/simlab/algorithms/test_identities.py).
TWINS = {"ExactDiffusion": "NIDS", "EDM": "D2DmSGD", "DSMT": "DSGTHB"}
UNBIASED = (simlab.ECDPSGD, simlab.MARINA)  # what they ask of their compressor
CLASSES: list[Any] = [getattr(simlab.algorithms, name) for name in names()]
DEFAULTS = {
    "lr": 0.02,
    "momentum": 0.9,
    "consensus_lr": 0.3,
    "dual_lr": 0.3,
    "acceleration": 0.5,
    "l1": 0.01,
    "local_steps": 3,
    "period": 3,
    "threshold": 0.5,
    "probability": 0.3,
    "trigger": 0.05,
    "penalty": 0.3,
    "decay": 0.9,
    "most": 3,
    "rounds": 3,
    "rho": 0.8,
    "extrapolation": 0.5,
    "strong_convexity": 0.2,
    "weight_decay": 0.05,
}


def forms(n_nodes: int = 6, **values: Any) -> dict[str, Any]:
    """An instance of each class and choice, by name (DSGD-atc, DSGD-cta); `values` where there is such a field."""
    compressor = simlab.compression.QSGD(levels=16, scaled=True)
    base = simlab.DmSGD(values.get("lr", DEFAULTS["lr"]), values.get("momentum", DEFAULTS["momentum"]))
    values = {**DEFAULTS, "compressor": compressor, "base": base, "smoothness": (1.0,) * n_nodes, **values}
    found = {}
    for kind in CLASSES:
        given = {name: value for name, value in values.items() if name in kind._fields}
        if kind in UNBIASED:
            given["compressor"] = values["compressor"]._replace(scaled=False)
        options = choices(kind)
        for chosen in itertools.product(*options.values()):
            label = "-".join([kind.__name__, *chosen])
            found[label] = kind(**given, **dict(zip(options, chosen, strict=True)))
    return found


def affine(lr: Any, momentum: Any) -> dict[str, Any]:
    """Those that have a bias transfer function and compress nothing, so that their step is affine where gradients are;
    by name. Push-sum is affine where its weights are sure, see tests/theory/test_exact_changing.py.
    """
    found = {name: a for name, a in forms(lr=lr, momentum=momentum, l1=0.0).items() if hasattr(a, "bias_transfer")}
    push = ("SGP", "SubgradientPush", "PushDIGing")
    return {name: a for name, a in found.items() if not hasattr(a, "compressor") and type(a).__name__ not in push}


def distinct(lr: Any, momentum: Any) -> dict[str, Any]:
    """Those of `affine` without twins, for tests that take seconds for each."""
    return {name: a for name, a in affine(lr, momentum).items() if name not in TWINS}
