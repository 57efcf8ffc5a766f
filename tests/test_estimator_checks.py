"""scikit-learn's own checks over every public estimator, on whichever version is installed."""

from __future__ import annotations

import pytest
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
)
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor

#: The defaults, but for a seed and less training.
BRIEF = {"max_epochs": 3, "random_state": 0}
NETWORKS = [
    PulseTeacherRegressor(**BRIEF),
    DistilledStudentRegressor(**BRIEF),
    DistilledStudentRegressor(PulseTeacherRegressor(**BRIEF), **BRIEF),
    QuantizedStudentRegressor(DistilledStudentRegressor(**BRIEF, quantization_epochs=1)),
    PulseTeacherRegressor(**BRIEF, network="interacting", loss="laplace"),
    DistilledStudentRegressor(**BRIEF, network="interacting", loss="laplace"),
    QuantizedStudentRegressor(
        DistilledStudentRegressor(**BRIEF, network="interacting", loss="laplace")
    ),
]
PLAIN = [SpectralPeakRegressor(), MotionAwareSpectralRegressor(), PPGWindower()]
ESTIMATORS = [*NETWORKS, *PLAIN]


def impossible(estimator):
    """Name the checks that cannot pass by nature, with the reason; they must fail."""
    if isinstance(estimator, tuple(map(type, PLAIN))):
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "batches are drawn at random: a row of weight 2 meets other rows than two rows do, "
            "and the held-out rows differ"
        )
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=impossible)
def test_estimator_does_what_scikit_learn_expects(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_tags_are_true(estimator):
    tags = get_tags(estimator)
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert not tags.non_deterministic
    assert tags.requires_fit
