"""The algorithms that the first studies compare."""

from __future__ import annotations

from typing import Any

import simlab


def compared(lr: float, momentum: float) -> dict[str, Any]:
    """The momentum algorithms at one step size; DSGD at the same, and at the one that makes it as fast."""
    return {
        "DSGD": simlab.DSGD(lr),
        "DSGD, lr/(1-β)": simlab.DSGD(lr / (1 - momentum)),
        "DmSGD": simlab.DmSGD(lr, momentum),
        "DecentLaM": simlab.DecentLaM(lr, momentum),
        "PmSGD": simlab.PmSGD(lr, momentum),
    }
