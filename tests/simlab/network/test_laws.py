"""The law that a process states is that of what it draws: every outcome, as often as it should come."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from simlab import dynamics, topologies
from simlab.network.law import Chain, Cycle, Outcomes, Switches, Toggles

PATH, RING, STAR, WIDE = topologies.path(3), topologies.ring(4), topologies.star(4), topologies.ring(5, lazy=True)
SMALL = [topologies.complete(4), RING, STAR]
PROCESSES: dict[str, Any] = {
    "cycle": dynamics.cycle(SMALL),
    "every": dynamics.every(RING, 3),
    "one peer": dynamics.one_peer_exponential(5),
    "choice": dynamics.choice(SMALL, [0.5, 0.3, 0.2]),
    "markov": dynamics.markov(SMALL, [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.0, 0.5, 0.5]]),
    "links": dynamics.link_failures(WIDE, 0.3),
    "one-sided links": dynamics.link_failures(PATH, 0.3, one_sided=True),
    "bursts": dynamics.link_failures(PATH, 0.3, burst=4.0),
    "no bursts": dynamics.link_failures(PATH, 0.0, burst=4.0),
    "nodes": dynamics.node_failures(RING, 0.3),
    "matchings": dynamics.matchings(STAR, 0.5),
    "pairwise": dynamics.pairwise(WIDE),
    "groups": dynamics.groups(6, 2),
    "exponential times": dynamics.asynchronous(STAR, dynamics.Exponential([1.0, 2.0, 2.0, 4.0])),
    "fixed times": dynamics.asynchronous(STAR, [1.0, 1.5, 1.0, 3.0]),
}
STEPS = 12_000
APART = {"bursts": 60, "markov": 20}  # steps after which two states of the chain are nearly independent
FALSE_ALARM = 1e-3  # of the family: all tests of counts together


def key(weights: np.ndarray, awake: np.ndarray, fires: np.ndarray) -> bytes:
    return np.round(weights + 0.0, 12).tobytes() + awake.tobytes() + fires.tobytes()


def shares(outcomes: Outcomes) -> dict[bytes, float]:
    found: dict[bytes, float] = defaultdict(float)
    for outcome in outcomes:
        found[key(outcome.weights, outcome.awake, outcome.fires)] += outcome.probability
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)
    return dict(found)


def by_phase(law: Any) -> list[dict[bytes, float]]:
    """Probabilities of the outcomes of a step, by its phase; of a chain in its stationary distribution."""
    if isinstance(law, Toggles | Switches):
        return [shares(law.outcomes())]
    if isinstance(law, Cycle):
        return [shares(outcomes) for outcomes in law.steps]
    total: dict[bytes, float] = defaultdict(float)
    for share, outcomes in zip(law.stationary, law.modes, strict=True):
        for known, probability in shares(outcomes).items():
            total[known] += share * probability
    return [dict(total)]


def test_processes_draw_by_their_law() -> None:
    """No outcome that the law does not list, and the counts of all by chi-squared tests with Bonferroni's levels."""
    p_values: dict[Any, float] = {}
    for name, network in PROCESSES.items():
        path = network.sample(STEPS, seed=3)
        awake, fires = path.awake, path.fires
        drawn = [key(path[k], awake[k], fires[k]) for k in range(STEPS)]
        phases = by_phase(network.law())
        for phase, expected in enumerate(phases):
            mine = drawn[phase :: len(phases)]
            assert set(mine) <= set(expected), (name, phase)
            mine = mine[:: APART.get(name, 1)]
            likely = {known: p for known, p in expected.items() if p > 0}
            if len(likely) > 1:
                counts = [mine.count(known) for known in likely]
                p_values[name, phase] = chisquare(counts, len(mine) * np.array(list(likely.values()))).pvalue
    assert len(p_values) >= 11
    assert min(p_values.values()) > FALSE_ALARM / len(p_values), p_values


@pytest.mark.parametrize("name", ["markov", "bursts"])
def test_chains_move_by_their_transitions(name: str) -> None:
    law, path = PROCESSES[name].law(), PROCESSES[name].sample(STEPS, seed=3)
    assert isinstance(law, Chain) and law.stationary @ law.transitions == pytest.approx(law.stationary, abs=1e-12)
    states = [key(*mode[0][1:]) for mode in law.modes]
    assert len(set(states)) == len(states) and all(len(mode) == 1 for mode in law.modes)
    awake, fires = path.awake, path.fires
    seen = [states.index(key(path[k], awake[k], fires[k])) for k in range(STEPS)]
    moves = np.zeros_like(law.transitions)
    for before, after in itertools.pairwise(seen):
        moves[before, after] += 1
    assert not moves[law.transitions == 0].any()
    level = FALSE_ALARM / len(moves)
    for row, visited in zip(law.transitions, moves, strict=True):
        if np.sum(row > 0) > 1:
            assert chisquare(visited[row > 0], visited.sum() * row[row > 0]).pvalue > level
