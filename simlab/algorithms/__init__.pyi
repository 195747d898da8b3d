# The registry: one line an algorithm, read by lazy_loader at run time and by type checkers.
from .awc_dmsgd import AWCDmSGD as AWCDmSGD
from .choco_gossip import ChocoGossip as ChocoGossip
from .choco_sgd import ChocoSGD as ChocoSGD
from .d2 import D2 as D2
from .d2_dmsgd import D2DmSGD as D2DmSGD
from .da_dmsgd import DADmSGD as DADmSGD
from .decentlam import DecentLaM as DecentLaM
from .dmsgd import DmSGD as DmSGD
from .dsgd import DSGD as DSGD
from .extra import EXTRA as EXTRA
from .gradient_tracking import GradientTracking as GradientTracking
from .malcom_psgd import MalcomPSGD as MalcomPSGD
from .nids import NIDS as NIDS
from .pmsgd import PmSGD as PmSGD
from .proximal_dsgd import ProximalDSGD as ProximalDSGD
from .qg_dmsgd import QGDmSGD as QGDmSGD
