"""The studies of learning on unequal data: their claims hold, and are caught when made false."""

from tests.figures.test_changing_figures import scaled
from tests.helpers import studies

# Fewer settings than the published figures have; the claims are the same.
QUICK = {
    "unequal_nodes": {"data_sets": 3, "skews": (0.0, 1.0, 1.5), "steps": 1500},
    "adaptive_bias": {"data_sets": 2, "lrs": (0.02, 0.005, 0.0025)},
}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset(("adaptive_bias", column) for column in ("exact", "vanishing", "bound", "first", "second"))


def test_claims_hold(study):
    """All that are not about intervals, which are wide with so few data sets."""
    _, _, claims = study
    assert [c for c in claims if c.verdict == "violated"] == []
    assert [c for c in claims if c.verdict != "holds" and "[" not in c.measured] == []


FALSE = [
    ("unequal_nodes", scaled("exact_bias", 1.001), {"limits are exact"}),
    ("unequal_nodes", scaled("exact_mse", 1.2), {"noise is as expected"}),
    ("unequal_nodes", scaled("from_pooled", 1e8), {"weighing samples is pooling"}),
    ("unequal_nodes", scaled("expected_error", 2.5), {"minimizers err as expected"}),
    ("unequal_nodes", scaled("error", 20.0, weighting="samples"),
     {"weighing nodes costs data", "as much as mean(1/m) mean(m) says"}),
    ("unequal_nodes", scaled("bias", 20.0, weighting="samples"), {"and more bias"}),
    ("unequal_nodes", scaled("mse", 3.0, weighting="samples"), {"weighing samples costs noise"}),
    ("unequal_nodes", scaled("bias", 0.1, algorithm="DmSGD"), {"momentum costs DmSGD whatever is weighed"}),
    ("adaptive_bias", scaled("exact", 1.001), {"limits are exact"}),
    ("adaptive_bias", scaled("bound", 80.0), {"the theorems hold"}),
    *(("adaptive_bias", scaled("bias", 0.001, algorithm=name), {f"{name}: it stays", f"what {rates} of one's own cost"})
      for name, rates in (("DecentLaM, own rates", "rates"), ("DAdam", "moments"))),
    *(("adaptive_bias", scaled("bias", lambda lr: 1 / lr, "lr", algorithm=name), {f"{name}: it goes"})
      for name in ("DecentLaM", "LayerwiseDecentLaM", "Adam, averaged moments")),
    ("adaptive_bias", scaled("bias", lambda lr: 1 / lr, "lr", algorithm="QGAdam"), {"QG-Adam circles"}),
    ("adaptive_bias", scaled("bias", 0.001, algorithm="QGAdam"), {"farther than Adam with averaged moments stops"}),
    ("adaptive_bias", scaled("first", 1.1), {"mean, geometric median, median"}),
]  # fmt: skip


def test_false_claims_are_caught(study):
    caught, claims = studies.caught(study, FALSE), study[2]
    assert {c.name for c in claims} == caught
