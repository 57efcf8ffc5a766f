"""Fine-tuning with the rounding of the firmware."""

from __future__ import annotations

import os
import signal
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from pulsehr import DistilledStudentRegressor, PPGWindower
from pulsehr._fine_tuning import (
    KeepLoss,
    formats_of,
    rounded,
    rounded_student,
    rounded_weights,
)
from pulsehr._inference import layer_ranges
from pulsehr.datasets import make_recordings
from pulsehr.exceptions import InterruptedFitWarning
from pulsehr.firmware.integer import quantize_windows, run_layer
from pulsehr.firmware.lowering import quantized_graph
from pulsehr.firmware.quantization import Format
from pulsehr.forms import InteractingNetwork
from pulsehr.networks import DistilledStudent

FORMS = {
    "paper": {},
    "interacting": {"network": "interacting"},
    "with scale": {"network": "interacting", "loss": "laplace"},
}
SMALL = {"max_epochs": 2, "filters": (4, 5, 6), "batch_size": 16, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=4, duration=60, random_state=0)


@pytest.fixture(scope="module")
def rows(data):
    return PPGWindower().fit_transform(data.X), data.y


def weights(model):
    return {name: values.numpy() for name, values in model.network_.state_dict().items()}


def rounded_of(student, n_times=256):
    shape = (student.n_channels_, n_times)
    formats = formats_of(student.network_, shape, student.ranges_)
    form = partial(type(student.network_), n_outputs=len(student.network_.out.bias))
    network = rounded_student(*shape, student.filters, 0.0, form, formats).eval()
    network.load_state_dict(student.network_.state_dict())
    return network


@pytest.mark.parametrize("n_times", [256, 100, 37])
@pytest.mark.parametrize("form", FORMS)
def test_layers_of_the_rounded_network_give_the_integers_of_the_firmware(form, n_times, rows):
    X = rows[0][:, :, :n_times]
    student = DistilledStudentRegressor(**SMALL, **FORMS[form]).fit(X, rows[1])
    outputs = {}
    rounded_network = rounded_of(student, n_times)
    for name, module in rounded_network.named_children():
        module.register_forward_hook(lambda _, args, y, name=name: outputs.update({name: y}))
    with torch.no_grad():
        rounded_network(torch.from_numpy(X))
    graph = quantized_graph(student)
    integers = quantize_windows(X, graph.input_format)[..., np.newaxis]
    for layer in graph.layers[:4]:
        integers = run_layer(layer, integers)
        values = outputs[layer.name].permute(0, 2, 3, 1).numpy()
        steps = np.round(values / layer.target.scale) + layer.target.zero_point
        # a sum in the middle of two integers rounds either way, and later sums hold it
        assert np.mean(steps == integers) > 0.95  # sums are rounded once, not twice
        assert np.abs(steps - integers).max() <= 3


def test_values_are_rounded_to_the_integers_of_a_format():
    values = torch.tensor([-9.0, -0.26, 0.24, 0.26, 9.0], requires_grad=True)
    got = rounded(values, Format(8, 0.5, 120))
    assert got.tolist() == [-9.0, -0.5, 0.0, 0.5, 3.5]
    got.sum().backward()
    # clipped values do not learn
    assert values.grad.tolist() == [1, 1, 1, 1, 0]


def test_weights_are_rounded_with_a_scale_for_each_output():
    given = torch.tensor([[1.27, -0.634], [-0.0127, 0.00006], [0.0, 0.0]], requires_grad=True)
    got = rounded_weights(given)
    expected = [[1.27, -0.63], [-0.0127, 0.0001], [0, 0]]
    np.testing.assert_allclose(got.detach(), expected, atol=1e-6)
    got.sum().backward()
    assert given.grad.tolist() == [[1, 1]] * 3


def test_means_are_rounded_with_halves_away_from_zero():
    form = Format(8, 1.0, -2)
    formats = dict.fromkeys(formats_of_names(), form)
    network = rounded_student(1, 8, (1, 1, 1), 0.0, DistilledStudent, formats)
    # integers, by the zero point: -2 and -1, 4 and 5
    means = network.pool3(torch.tensor([[[[0.0, 1.0, 6.0, 7.0]]]]))
    # of -1.5 comes -2, of 4.5 comes 5
    assert means.flatten().tolist() == [0.0, 7.0]


def test_tuning_keeps_heart_rates_and_scales():
    bpm, log_scale = torch.tensor([70.0, 80.0]), torch.tensor([1.0, 2.0])
    output = (torch.tensor([71.0, 80.0]), torch.zeros(2, 32), torch.tensor([1.0, 1.5]))
    weights = torch.tensor([0.5, 1.5])
    assert KeepLoss()(output, (bpm, weights, log_scale)) == (0.5 * 1 + 1.5 * 0.5) / 2
    assert KeepLoss()(output[:2], (bpm, weights)) == 0.25


def test_the_rounded_network_with_a_gain_is_near_the_float_one(rows):
    student = DistilledStudentRegressor(**SMALL, **FORMS["with scale"]).fit(*rows)
    assert isinstance(student.network_, InteractingNetwork)
    with torch.no_grad():
        bpm, _, log_scale = rounded_of(student)(torch.from_numpy(rows[0]))
    expected_bpm, std = student.predict(rows[0], return_std=True)
    expected = np.log(std / np.sqrt(2) / student.std_scale_)
    assert np.abs(bpm.numpy() - expected_bpm).max() < 2
    assert np.abs(log_scale.numpy() - expected).max() < 0.1


def formats_of_names():
    return ["input", *(name for name, _ in DistilledStudent(1, 8).named_children())]


def test_no_epoch_changes_nothing(rows):
    model = DistilledStudentRegressor(**SMALL).fit(*rows)
    assert model.quantization_history_ == []
    assert model.ranges_ == layer_ranges(model.network_, rows[0])


@pytest.mark.parametrize("form", FORMS)
def test_tuning_starts_from_the_trained_weights_and_keeps_their_ranges(form, rows):
    settings = {**SMALL, **FORMS[form]}
    model = DistilledStudentRegressor(**settings).fit(*rows)
    tuned = DistilledStudentRegressor(**settings, quantization_epochs=2).fit(*rows)
    assert [row["epoch"] for row in tuned.quantization_history_] == [1, 2]
    losses = [row["valid_loss"] for row in model.history_]
    assert [row["valid_loss"] for row in tuned.history_] == losses
    assert tuned.best_epoch_ == model.best_epoch_
    assert tuned.ranges_ == model.ranges_
    for name, values in weights(model).items():
        assert np.abs(weights(tuned)[name] - values).max() < 0.05
    assert any((weights(tuned)[name] != values).any() for name, values in weights(model).items())
    assert type(tuned.network_) is type(model.network_)


def test_the_same_seed_tunes_the_same(rows):
    one, other = (
        weights(DistilledStudentRegressor(**SMALL, quantization_epochs=2).fit(*rows)) for _ in "ab"
    )
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_tuning_brings_coarse_integers_nearer_to_float(rows, monkeypatch):
    X, y = rows
    # four bits, so that there is something to gain in a few epochs
    monkeypatch.setattr("pulsehr._fine_tuning.WEIGHT_MAX", 7)
    settings = {**SMALL, "max_epochs": 15, "lr": 3e-3}
    model = DistilledStudentRegressor(**settings).fit(X, y)
    tuned = DistilledStudentRegressor(**settings, quantization_epochs=15).fit(X, y)

    def distance(fitted):
        with torch.no_grad():
            got = rounded_of(fitted)(torch.from_numpy(X))[0].numpy()
        return np.abs(got - model.predict(X)).mean()

    assert distance(tuned) < 0.7 * distance(model)


class Press(Callback):
    """Press Ctrl-C at the end of an epoch, counted over all trainings."""

    count = 0

    def __init__(self, at):
        self.at = at

    def on_batch_begin(self, net, training=False, **kwargs):
        Press.count += 1
        if Press.count == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_the_first_epoch_of_tuning_keeps_the_training(rows):
    model = DistilledStudentRegressor(**SMALL).fit(*rows)
    Press.count = 0
    counted = DistilledStudentRegressor(**SMALL, callbacks=[Press(0)]).fit(*rows)
    batches, Press.count = Press.count, 0
    counted.set_params(callbacks=[Press(batches + 2)], quantization_epochs=2)
    with pytest.warns(InterruptedFitWarning, match="interrupted"):
        counted.fit(*rows)
    assert counted.quantization_history_ == []
    for name, values in weights(model).items():
        np.testing.assert_array_equal(weights(counted)[name], values)


def test_checkpoints_of_the_training_serve_any_number_of_tuning_epochs(rows, tmp_path):
    once = DistilledStudentRegressor(**SMALL, checkpoint=tmp_path).fit(*rows)
    files = set(tmp_path.iterdir())
    tuned = DistilledStudentRegressor(**SMALL, checkpoint=tmp_path, quantization_epochs=1)
    tuned.fit(*rows)
    assert files < set(tmp_path.iterdir())
    assert len(set(tmp_path.iterdir())) == 2
    assert tuned.history_ == once.history_


@pytest.mark.parametrize("epochs", [-1, 1.5, "two", None])
def test_a_wrong_number_of_epochs_is_refused(epochs, rows):
    with pytest.raises(ValueError, match="quantization_epochs must be an integer >= 0"):
        DistilledStudentRegressor(quantization_epochs=epochs).fit(*rows)


def test_ranges_hold_all_but_the_share_beyond_a_percentile():
    network = DistilledStudent(1, 100, (2, 2, 2)).eval()
    windows = np.random.default_rng(0).permutation(10_000).reshape(100, 1, 100)
    windows = windows.astype(np.float32)
    # ten of 10,000 values above, as many below
    assert layer_ranges(network, windows, 99.9)["input"] == (10, 9989)
    assert layer_ranges(network, windows, 100)["input"] == (0, 9999)
    # too few values to leave one out
    assert layer_ranges(network, windows, 99.995)["input"] == (0, 9999)
    low, high = layer_ranges(network, windows, 99)["conv11"]
    with torch.no_grad():
        maps = network.conv11(torch.from_numpy(windows).unsqueeze(1)).numpy()
    assert np.sum(maps > high) == maps.size // 100
    assert low == maps.min() == 0
