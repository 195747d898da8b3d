# The public names and where they live, all but the algorithms: read by lazy_loader at run time and by type checkers.
from . import (
    cluster as cluster,
    compression as compression,
    data as data,
    dynamics as dynamics,
    operations as operations,
    plot as plot,
    schedules as schedules,
    topologies as topologies,
)
from .citation import cite as cite
from .cluster import Cluster as Cluster
from .kernel import Kernel as Kernel
from .network.network import Network as Network
from .network.process import Exchanges as Exchanges, NetworkProcess as NetworkProcess
from .problems import (
    LeastSquares as LeastSquares,
    LogisticRegression as LogisticRegression,
    ModelProblem as ModelProblem,
    NeuralNetwork as NeuralNetwork,
    NonconvexLogistic as NonconvexLogistic,
    Problem as Problem,
    Quadratic as Quadratic,
)
from .run.metrics import worst_node_error as worst_node_error
from .simulation import (
    SimulationInterrupted as SimulationInterrupted,
    generated_source as generated_source,
    resume as resume,
    simulate as simulate,
)
from .sweeps.cells import grid as grid
from .sweeps.run import sweep as sweep
from .sweeps.store import load_sweep as load_sweep
from .tables import first as first, table as table
from .trace import Trace as Trace, frame as frame, load_traces as load_traces
