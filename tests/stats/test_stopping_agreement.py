import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from simulated import PROTOCOL, simulate

from devices.agent import stopping
from harness import stats, wire
from harness.stats import Process


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4), st.floats(1e-4, 3))
def test_the_agents_stopping_rule_and_these_statistics_agree(seed, blocks, replicates, noise):
    made = simulate(np.random.default_rng(seed), blocks, {"r": 1000, "c": 900}, replicates, noise)
    made["c"] = [p for p in made["c"] if p.block % 5 != 3]  # some blocks lack the case
    medians = {}
    for p in (*made["r"], *made["c"]):
        medians.setdefault((p.case_id, p.block + 1), []).append(p.log_median)  # the agent counts blocks from 1
    theirs, ours = stopping.differences(medians, "c", "r", blocks), stats.differences(made["c"], made["r"])
    assert ours == pytest.approx(theirs, abs=1e-12)
    reach = stopping.reach(theirs, PROTOCOL)
    assert stats.half_width(ours, PROTOCOL) == (pytest.approx(reach.half_width) if reach.half_width else None)
    assert stats.blocks_needed(ours, PROTOCOL) == reach.blocks_needed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), min_size=2, max_size=40),
    st.floats(0.001, 0.2),
    st.lists(st.integers(2, 60), min_size=1, max_size=6, unique=True),
    st.floats(0.001, 0.5),
)
def test_they_agree_on_any_latencies_and_any_protocol(pairs, wanted, looks, alpha):
    protocol = wire.Protocol(half_width=wanted, looks=tuple(sorted(looks)), alpha=alpha)
    ours = [Process("c", b, 0, 0, [latency]) for b, (latency, _) in enumerate(pairs)]
    theirs = [Process("r", b, 0, 0, [latency]) for b, (_, latency) in enumerate(pairs)]
    values = stats.differences(ours, theirs)
    agent, found = stopping.reach(values.tolist(), protocol), stats.reach(ours, theirs, protocol)
    assert found.half_width == pytest.approx(agent.half_width, rel=1e-6, abs=1e-9)
    assert found.blocks_needed == pytest.approx(agent.blocks_needed, rel=1e-6, abs=1)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 30, 400])
def test_the_agents_t_quantile_is_that_of_scipy(df):
    for probability in (0.5, 0.9, 0.975, 0.995, 0.9999):
        assert stopping.t_quantile(probability, df) == pytest.approx(t.ppf(probability, df), rel=1e-7, abs=1e-12)
