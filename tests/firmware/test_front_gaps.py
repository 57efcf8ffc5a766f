"""Missing samples: the integers by hand, the C against them, and both against the windower."""

from __future__ import annotations

import numpy as np
import pytest
from fronts import (
    CompiledFront,
    acc_streams,
    front_of,
    hashes_of,
    ppg_streams,
    tracker_of,
)

from pulsehr.firmware.front_gaps import over_gap
from pulsehr.firmware.front_integer import front_windows

BAND = (0.5, 4.0)


@pytest.fixture
def compiled(tmp_path, compiler):
    """Compile a front end."""

    def make(front, flags=()):
        return CompiledFront(front, tmp_path, compiler, flags)

    return make


def with_gaps(samples, rng, often=0.004, longest=60):
    """Mask stretches of samples, some of one sample."""
    missing = np.zeros(len(samples), dtype=bool)
    for start in np.flatnonzero(rng.random(len(samples)) < often):
        missing[start : start + rng.choice([1, 2, 3, 7, longest])] = True
    mask = missing if samples.ndim == 1 else np.repeat(missing[:, None], 3, axis=1)
    return np.ma.MaskedArray(samples, mask)


def check_streams(c, n_rows=700, seeds=range(4), window_often=0.004):
    front = c.front
    factors = front.ppg.factor, 0 if front.acc is None else front.acc.factor
    n_over = n_good = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        ppg = with_gaps(ppg_streams(n_rows * factors[0])["walk"], rng, window_often / factors[0])
        acc = None
        if front.acc is not None:
            acc = acc_streams(n_rows * factors[1])[0]
            acc = with_gaps(acc, rng, window_often / factors[1])
        ends = np.unique(rng.integers(front.n_times, n_rows + 40, 300))
        over = over_gap(front, ppg, acc, ends)
        got = c.stream(ppg, acc, ends)
        np.testing.assert_array_equal(np.ma.getmaskarray(got), over)
        wanted = hashes_of(front_windows(front, ppg, acc, ends))
        np.testing.assert_array_equal(got.data[~over], wanted[~over])
        n_over, n_good = n_over + over.sum(), n_good + (~over).sum()
    assert n_over > 20
    assert n_good > 20


@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("bandpass", [None, BAND])
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2), (2, 2), (5, 3), (4, 4)])
@pytest.mark.parametrize("n_channels", [1, 4])
def test_c_equals_the_integers_over_gaps(n_channels, factors, bandpass, normalize, compiled):
    front = front_of(
        n_channels, factors=factors, bandpass=bandpass, normalize=normalize, window=1.0
    )
    check_streams(compiled(front))
