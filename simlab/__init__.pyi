# For type checkers; at run time __init__.py reads the two lists.
from .algorithms import *
from .public import *

__version__: str
