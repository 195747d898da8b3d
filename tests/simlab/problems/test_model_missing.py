"""A ModelProblem where its framework is missing."""

import sys

import numpy as np
import pytest

import simlab


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_missing_framework_is_named_with_the_extra_that_brings_it(framework, monkeypatch):
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"simlab.problems.model_{framework}", raising=False)
    with pytest.raises(ImportError, match=rf"framework = '{framework}' is not installed .*simlab\[{framework}\]"):
        simlab.ModelProblem(len, {"w": np.zeros(2)}, np.zeros((2, 3, 2)), np.zeros((2, 3)), framework=framework)
