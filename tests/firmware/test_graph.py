"""Layers on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr.firmware.graph import Conv, Dense, Graph, MeanPool, measure_ranges

OUT = Dense("out", np.ones((1, 1)), np.zeros(1))


def column(*values: float) -> np.ndarray:
    """One window of one channel and one feature."""
    return np.array(values, dtype=float).reshape(1, 1, -1, 1)


def test_conv_of_one_tap_scales_and_shifts():
    conv = Conv("c", np.full((1, 1, 1, 1), 2.0), np.array([1.0]))
    assert conv.run(column(1, -2, 3)).ravel().tolist() == [3, -3, 7]


def test_conv_relu_cuts_negatives():
    conv = Conv("c", np.full((1, 1, 1, 1), 2.0), np.array([1.0]), relu=True)
    assert conv.run(column(1, -2, 3)).ravel().tolist() == [3, 0, 7]


def test_conv_is_a_correlation_with_dilation_and_zero_padding():
    conv = Conv("c", np.array([1.0, 10.0, 100.0]).reshape(1, 1, 3, 1), np.zeros(1), 2, 2)
    # output t is x[t-2] + 10 x[t] + 100 x[t+2]
    assert conv.run(column(1, 2, 3, 4)).ravel().tolist() == [310, 420, 31, 42]


def test_conv_over_rows_sums_them():
    conv = Conv("c", np.array([1.0, 10.0]).reshape(1, 2, 1, 1), np.zeros(1))
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    assert conv.run(x).ravel().tolist() == [31, 42]


def test_mean_pool_divides_a_short_last_group_by_its_own_count():
    assert MeanPool("p", 2).run(column(1, 3, 5)).ravel().tolist() == [2, 5]


def test_dense_reads_row_by_row_and_step_by_step():
    dense = Dense("d", np.array([[1.0, 10.0, 100.0, 1000.0]]), np.array([0.0]))
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    assert dense.run(x).ravel().tolist() == [4321]


def test_macs_of_a_conv_count_every_output_and_tap():
    conv = Conv("c", np.zeros((8, 1, 5, 1)), np.zeros(8), padding=2)
    assert conv.n_macs((4, 256, 1)) == 40960


def test_graph_runs_more_windows_than_a_chunk():
    graph = Graph((1, 1), (OUT,))
    windows = np.arange(150.0).reshape(-1, 1, 1)
    assert graph.run(windows).tolist() == windows.ravel().tolist()


def test_ranges_are_of_every_tensor_over_all_windows():
    graph = Graph((1, 2), (MeanPool("pool", 2), OUT))
    windows = np.zeros((100, 1, 2))
    windows[3], windows[90] = [[-5, 1]], [[2, 8]]
    expected = {"input": (-5, 8), "pool": (-2, 5), "out": (-2, 5)}
    assert measure_ranges(graph, windows) == expected


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((OUT, OUT), "layer names must differ, got 'out' twice"),
        ((MeanPool("pool", 2),), r"must give one number, got shape \(1, 2, 1\)"),
        ((Conv("c", np.zeros((1, 2, 1, 1)), np.zeros(1)),), "layer 'c' .* does not fit"),
        ((Dense("d", np.zeros((1, 9)), np.zeros(1)),), "layer 'd' with 9 inputs does not fit"),
    ],
)
def test_graph_that_does_not_fit_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        Graph((1, 4), layers)


def test_windows_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"windows must be \(1, 1\), got \(1, 2\)"):
        Graph((1, 1), (OUT,)).run(np.zeros((1, 1, 2)))
