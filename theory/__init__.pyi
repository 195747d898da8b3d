# The public names and where they live: read by lazy_loader at run time and by type checkers.
from . import testing as testing, theorems as theorems, transfer as transfer
from .mixing import mixing_parameter as mixing_parameter
from .prediction import Prediction as Prediction, predict as predict
from .rates import fit_rate as fit_rate
from .report import Report as Report
from .stability import stability_limit as stability_limit, stable_intervals as stable_intervals
from .tuning import (
    Tuned as Tuned,
    critical_batch_size as critical_batch_size,
    tune as tune,
)
from .verdict import verify as verify
from .worst.case import WorstCase as WorstCase, worst_case as worst_case
from .worst.classes import worst_case_bias as worst_case_bias, worst_case_rate as worst_case_rate
from .worst.spectrum import Spectrum as Spectrum
