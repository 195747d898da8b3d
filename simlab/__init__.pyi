# The public names and where they live: read by lazy_loader at run time and by type checkers.
from . import (
    compression as compression,
    data as data,
    operations as operations,
    schedules as schedules,
    topologies as topologies,
)
from .algorithms import (
    D2 as D2,
    DSGD as DSGD,
    EXTRA as EXTRA,
    NIDS as NIDS,
    AWCDmSGD as AWCDmSGD,
    ChocoGossip as ChocoGossip,
    ChocoSGD as ChocoSGD,
    D2DmSGD as D2DmSGD,
    DADmSGD as DADmSGD,
    DecentLaM as DecentLaM,
    DmSGD as DmSGD,
    GradientTracking as GradientTracking,
    MalcomPSGD as MalcomPSGD,
    PmSGD as PmSGD,
    ProximalDSGD as ProximalDSGD,
    QGDmSGD as QGDmSGD,
)
from .citation import cite as cite
from .kernel import Kernel as Kernel
from .network.network import Network as Network
from .problems import (
    LeastSquares as LeastSquares,
    LogisticRegression as LogisticRegression,
    NeuralNetwork as NeuralNetwork,
    NonconvexLogistic as NonconvexLogistic,
    Problem as Problem,
    Quadratic as Quadratic,
)
from .simulation import (
    SimulationInterrupted as SimulationInterrupted,
    generated_source as generated_source,
    simulate as simulate,
)
from .trace import Trace as Trace, frame as frame, load_trace as load_trace

__version__: str
