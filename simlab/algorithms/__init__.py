"""One file an algorithm: hyperparameters, state, init and step."""

from simlab.algorithms.awc_dmsgd import AWCDmSGD
from simlab.algorithms.choco_gossip import ChocoGossip
from simlab.algorithms.choco_sgd import ChocoSGD
from simlab.algorithms.d2 import D2
from simlab.algorithms.d2_dmsgd import D2DmSGD
from simlab.algorithms.da_dmsgd import DADmSGD
from simlab.algorithms.decentlam import DecentLaM
from simlab.algorithms.dmsgd import DmSGD
from simlab.algorithms.dsgd import DSGD
from simlab.algorithms.extra import EXTRA
from simlab.algorithms.gradient_tracking import GradientTracking
from simlab.algorithms.malcom_psgd import MalcomPSGD
from simlab.algorithms.nids import NIDS
from simlab.algorithms.pmsgd import PmSGD
from simlab.algorithms.proximal_dsgd import ProximalDSGD
from simlab.algorithms.qg_dmsgd import QGDmSGD

__all__ = [
    "D2",
    "DSGD",
    "EXTRA",
    "NIDS",
    "AWCDmSGD",
    "ChocoGossip",
    "ChocoSGD",
    "D2DmSGD",
    "DADmSGD",
    "DecentLaM",
    "DmSGD",
    "GradientTracking",
    "MalcomPSGD",
    "PmSGD",
    "ProximalDSGD",
    "QGDmSGD",
]
