"""One file an algorithm: hyperparameters, state, init and step.

`__init__.pyi` is the registry: whatever is listed there is found as ``simlab.Name``, cited, drawn, tabulated
(``python -m simlab.algorithms``) and tested like the others.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
