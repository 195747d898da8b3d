"""The studies of communication that changes: their claims hold, and are caught when made false."""

import numpy as np
import pytest

from tests.helpers import studies

# Fewer data sets and settings than the published figures have; the claims are the same.
QUICK = {
    "local_steps": {"local_steps": (1, 2, 4, 8), "data_sets": 6},
    "directed": {"lrs": (0.00125, 0.0025, 0.01), "data_sets": 3},
    "time_to_accuracy": {"nodes": (4, 16, 64), "replicates": 6},
    "random_momentum": {"data_sets": 2, "momenta": (0.5, 0.8, 0.9), "steps": 6000},
    "link_failures": {"failures": (0.2, 0.4), "data_sets": 2, "steps": 6000},
    "one_peer": {"data_sets": 3, "steps": 2000},
    "asynchrony": {"lrs": (0.0025, 0.01, 0.04), "data_sets": 3, "steps": 10_000},
    "local_steps_theory": {"data_sets": 2, "steps": 300},
}

study = studies.runs(QUICK)


class TestWritten(studies.Written):
    MAY_BE_EMPTY = frozenset({
        ("time_to_accuracy", "expected"), ("random_momentum", "simulated"), ("link_failures", "simulated"),
        ("link_failures", "error"), ("one_peer", "error"), ("asynchrony", "error"),
        ("one_peer", "simulated"), ("asynchrony", "simulated"),
    })  # fmt: skip


def test_claims_hold(study):
    _, _, claims = study
    assert [c for c in claims if c.verdict != "holds"] == []


# What a wrong program would have measured, and the claims that must then be violated.


def scaled(column, factor, power=None, **only):
    """One column multiplied, in the rows that have the values `only`, by factor or by factor of the column `power`."""

    def change(table):
        rows = np.all([table[name] == value for name, value in only.items()], axis=0) if only else slice(None)
        by = factor if power is None else factor(table.loc[rows, power])
        table[column] = table[column].astype(float)
        table.loc[rows, column] *= by
        return table

    return change


def growing(table):
    """A ring waits as a barrier does."""
    alone = table[~table["messages"]]
    barrier = alone[alone["method"] == "barrier"].set_index(["n_nodes", "replicate"])["pace"]
    ring = (~table["messages"]) & (table["method"] == "ring")
    table.loc[ring, "pace"] = 1.1 * barrier.to_numpy()
    return table


def exchanged_methods(one, other):
    return lambda table: table.assign(method=table["method"].replace({one: other, other: one}))


def exchanged_points(table):
    """The weighted minimizer and the minimizer change places."""
    return table.assign(to_minimizer=table["to_weighted"], to_weighted=table["to_minimizer"])


FALSE = [
    ("link_failures", scaled("simulated", 1.1), {"exact is simulated"}),
    ("link_failures", scaled("bias", lambda q: 1 + q, "failures", algorithm="DecentLaM"), {"DecentLaM's bias stays"}),
    ("link_failures", scaled("network_variance", 0.1, algorithm="DecentLaM"),
     {"DecentLaM's network variance does not"}),
    ("link_failures", scaled("network_variance", 3.0, algorithm="QGDmSGD"), {"quasi-global momentum's nearly does"}),
    ("link_failures", scaled("network_variance", 0.05, algorithm="DSGD", burst=4.0), {"bursts cost"}),
    ("link_failures", scaled("bias", 1e18, algorithm="GradientTracking"), {"exact methods stay exact"}),
    ("link_failures", scaled("simulated", 1e18, algorithm="GradientTracking"), {"and so when simulated"}),
    ("one_peer", scaled("simulated", 1.1), {"exact is simulated"}),
    ("one_peer", scaled("consensus", 1 + 1e-6, network="ring"), {"frequency by frequency"}),
    ("one_peer", scaled("p", 0.9, network="one-peer"), {"a period averages exactly"}),
    ("one_peer", scaled("steps", 2, network="one-peer"), {"log₂n steps"}),
    ("one_peer", scaled("consensus", 3.0, network="one-peer"), {"worse by what is saved"}),
    ("one_peer", scaled("steps", 0.1, network="exponential"), {"fewer messages"}),
    ("one_peer", scaled("consensus", 0.05, network="ring"), {"better than a ring"}),
    ("asynchrony", scaled("simulated", 1.1), {"exact is simulated"}),
    ("asynchrony", scaled("to_minimizer", lambda lr: lr**-0.4, "lr", speeds="equal"),
     {"equal speeds lead to the minimizer"}),
    ("asynchrony", scaled("to_weighted", lambda lr: lr**-0.4, "lr", speeds="unequal"),
     {"unequal ones to the weighted one"}),
    ("asynchrony", scaled("apart", 2.0, speeds="unequal"), {"and not to the minimizer"}),
    ("local_steps_theory", scaled("simulated", 1.05), {"exact is simulated"}),
    ("local_steps_theory", scaled("bound", 0.2), {"bounds hold"}),
    ("local_steps_theory", scaled("bound", 10.0, algorithm="LocalSGD"), {"and are no idle ones"}),
    ("local_steps_theory", scaled("exact", 1.001, algorithm="DSGD"),
     {"equal Hessians: the mean feels no local step"}),
    ("local_steps_theory", scaled("consensus", lambda tau: tau**1.5, "local_steps", algorithm="LocalSGD"),
     {"local steps drive nodes apart"}),
    ("local_steps_theory", scaled("consensus", 100.0, algorithm="GossipPGA"), {"gossip between averages helps"}),
    ("random_momentum", scaled("simulated", 1.1), {"exact is simulated"}),
    ("random_momentum", scaled("bias", lambda m: 1 + m, "momentum", algorithm="DecentLaM"), {"DecentLaM's bias stays"}),
    ("random_momentum", scaled("network_variance", lambda m: (1 - m) ** 2, "momentum", algorithm="DecentLaM"),
     {"DecentLaM's network variance grows"}),
    ("random_momentum", scaled("network_variance", lambda m: (1 - m) ** 2, "momentum", algorithm="DmSGD"),
     {"DmSGD's grows"}),
    ("random_momentum", scaled("network_variance", lambda m: (1 - m) ** -1.5, "momentum", algorithm="QGDmSGD"),
     {"quasi-global momentum's does not", "quasi-global momentum stays near DSGD"}),
    ("local_steps", scaled("bits", 1.01, algorithm="GossipPGA"), {"bits as counted"}),
    ("local_steps", scaled("limit", 1.001), {"limits are exact"}),
    ("local_steps", scaled("mse", 1e12, local_steps=1), {"no bias without local steps"}),
    ("local_steps", scaled("leading", 1.2), {"leading terms"}),
    ("local_steps", scaled("mse", lambda tau: tau**-0.5, "local_steps", algorithm="LocalSGD"), {"bias of local steps"}),
    ("local_steps", scaled("mse", 1.001, algorithm="SlowMo"), {"slow momentum moves no limit"}),
    ("local_steps", scaled("mse", 100.0, algorithm="GossipPGA"),
     {"Gossip-PGA is under gossip", "Gossip-PGA is under Local SGD"}),
    ("local_steps", scaled("mse", lambda tau: tau**-3.0, "local_steps", algorithm="GossipPGA"), {"Gossip-PGA rises"}),
    ("local_steps", scaled("mse", 1e-3, algorithm="PD-SGDM"), {"PD-SGDM is over Local SGD"}),
    ("local_steps", scaled("gradients", 1.1, algorithm="LocalSGD"), {"same gradients"}),
    ("local_steps", scaled("bits", 1.1, algorithm="LocalSGD"), {"fewer bits"}),
    ("local_steps", scaled("gradients", 3.0, algorithm="SlowMo"), {"slow momentum is fast"}),
    ("directed", scaled("exact_to_weighted", 1.001), {"limits are exact"}),
    ("directed", exchanged_points, {"SGP nears the minimizer", "DSGD nears another point", "DSGD stays away",
                                    "SGP is nearer", "push-DIGing is exact"}),
    ("directed", scaled("to_minimizer", lambda lr: lr**-0.4, "lr", algorithm="SGP"), {"SGP nears the minimizer"}),
    ("directed", scaled("to_weighted", lambda lr: lr**0.4, "lr", algorithm="DSGD"), {"DSGD nears another point"}),
    ("directed", scaled("to_minimizer", 1.001, algorithm="SubgradientPush"),
     {"subgradient-push stops where SGP does"}),
    ("time_to_accuracy", scaled("pace", 1.05, method="barrier"), {"a barrier waits for the last"}),
    ("time_to_accuracy", scaled("expected", 1.05, method="directed ring"),
     {"a directed ring waits for its neighbour"}),
    ("time_to_accuracy", scaled("pace", 1.05, method="asynchronous"), {"asynchronous nodes wait for nobody"}),
    ("time_to_accuracy", growing, {"a ring stays bounded", "a ring does not grow"}),
    ("time_to_accuracy", scaled("expected", 1.05, messages=True, method="PmSGD, server"),
     {"seconds a step with messages"}),
    ("time_to_accuracy", exchanged_methods("PmSGD", "PmSGD, server"), {"all-reduce before server"}),
    ("time_to_accuracy", exchanged_methods("PmSGD", "DecentLaM"), {"gossip before all-reduce"}),
    ("time_to_accuracy", exchanged_methods("ADPSGD", "DecentLaM"),
     {"asynchronous before gossip", "gossip waits for a slow node", "asynchronous nodes do not",
      "asynchronous nodes stop higher"}),
    ("time_to_accuracy", scaled("time", 1.1, method="DmSGD"), {"DmSGD is as fast"}),
]  # fmt: skip


def test_false_claims_are_caught(study):
    caught, claims = studies.caught(study, FALSE), study[2]
    assert caught == {c.name for c in claims}


@pytest.mark.parametrize("tau", [1, 2, 8])
def test_local_sgd_stops_where_its_closed_form_does(tau):
    """Σ (I − (I − γH_i)^τ)(x − c_i) = 0, c_i the minimizer of f_i."""
    import simlab
    from figures.local_steps import limit

    problem = simlab.LeastSquares.synthetic(n_nodes=4, n_samples=20, dim=3, seed=2)
    own = [np.linalg.solve(h, -g) for h, g in zip(problem.hessians, problem.gradient(np.zeros((4, 3))), strict=True)]
    pulls = [np.eye(3) - np.linalg.matrix_power(np.eye(3) - 0.1 * h, tau) for h in problem.hessians]
    x = np.linalg.solve(sum(pulls), sum(pull @ c for pull, c in zip(pulls, own, strict=True)))
    mixings = [np.eye(4)] * (tau - 1) + [np.full((4, 4), 0.25)]
    expected = np.sum((x - problem.minimizer) ** 2)
    assert limit(problem, 0.1, 0.0, mixings) == pytest.approx(expected, rel=1e-9, abs=1e-25)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_directed_ring_spends_2_minus_1_over_n(n):
    """The stationary law of what waits at each node, by linear algebra: nodes work at rate 1, and pass work on."""
    from itertools import product

    states = [s for s in product(range(n + 1), repeat=n) if sum(s) == n]
    rates = np.zeros((len(states), len(states)))
    for s in states:
        for i in (i for i in range(n) if s[i]):
            after = list(s)
            after[i], after[(i + 1) % n] = after[i] - 1, after[(i + 1) % n] + 1
            rates[states.index(s), states.index(tuple(after))] += 1
    generator = np.vstack([(rates - np.diag(rates.sum(axis=1))).T, np.ones(len(states))])
    law = np.linalg.lstsq(generator, np.eye(len(states) + 1)[-1], rcond=None)[0]
    busy = sum(p for s, p in zip(states, law, strict=True) if s[0])
    assert 1 / busy == pytest.approx(2 - 1 / n, rel=1e-12)


def test_the_bound_on_rings():
    from figures.time_to_accuracy import BOUND, harmonic

    assert BOUND - 1 - np.log(BOUND) == pytest.approx(np.log(3), rel=1e-12) and BOUND > 1
    assert harmonic(5) == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5, rel=1e-12)


def test_weights_that_theory_asks_for_are_those_of_powers():
    """π by linear algebra against what W^k tends to, and the weighted minimizer by its gradient."""
    import simlab
    from figures.directed import minimizer, perron, quadratics

    network, problem = simlab.topologies.random_digraph(8, 0.3, 1, "pull"), quadratics(1)
    weights = perron(network.weights.T)
    np.testing.assert_allclose(np.linalg.matrix_power(network.weights, 4000), np.tile(weights, (8, 1)), atol=1e-12)
    assert np.ptp(weights) > 0.05
    slopes = problem.gradient(np.tile(minimizer(problem, weights), (8, 1)))
    np.testing.assert_allclose(weights @ slopes, 0, atol=1e-13)
