"""Model selection as people do it, over readings and over windows."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 it switches the search on
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingRandomSearchCV,
    LeaveOneGroupOut,
    ParameterGrid,
    cross_val_predict,
    cross_val_score,
    permutation_test_score,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.datasets import make_recordings
from pulsehr.metrics import (
    SCORERS,
    causal_clip_readings,
    get_scorer,
    share_within,
    subject_mean_absolute_error,
)

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=4, duration=40, random_state=0)


@pytest.fixture(scope="module")
def windows(data):
    return PPGWindower().fit_transform(data.X)


class CountedTeacher(PulseTeacherRegressor):
    """Count the fits of all clones."""

    fits: list[int] = []  # noqa: RUF012 shared by purpose

    def fit(self, X, y, sample_weight=None, groups=None):
        CountedTeacher.fits.append(len(y))
        return super().fit(X, y, sample_weight=sample_weight, groups=groups)


@pytest.fixture
def teacher_fits():
    CountedTeacher.fits.clear()
    return CountedTeacher.fits


def distilled(**parameters):
    return DistilledStudentRegressor(teacher=CountedTeacher(**SMALL), **{**SMALL, **parameters})


def test_one_grid_over_window_teacher_and_weights_of_distillation(data):
    pipe = make_pipeline(PPGWindower(padding="reflect"), distilled())
    grid = {
        "ppgwindower__window": [4.0, 8.0],
        "distilledstudentregressor__teacher__filters": [(2, 2, 2), (3, 3, 3)],
        "distilledstudentregressor__label_weight": [0.2, 0.8],
        "distilledstudentregressor__prediction_weight": [0.5, 1.0],
    }
    search = GridSearchCV(pipe, grid, cv=GroupKFold(2), error_score="raise")
    search.fit(data.X, data.y, groups=data.groups)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores.tolist())) == len(ParameterGrid(grid))  # each parameter counts
    best = search.best_estimator_
    assert (
        best[-1].teacher_.filters
        == search.best_params_["distilledstudentregressor__teacher__filters"]
    )
    assert best[-1].n_times_ == 32 * search.best_params_["ppgwindower__window"]


def test_memory_fits_each_teacher_once_per_fold(data, windows, teacher_fits, tmp_path):
    student = distilled(memory=str(tmp_path))
    grid = {"label_weight": [0.0, 0.5, 1.0], "lr": [1e-3, 1e-2]}
    search = GridSearchCV(student, grid, cv=GroupKFold(2), error_score="raise")
    search.fit(windows, data.y, groups=data.groups)
    assert len(teacher_fits) == 2 + 1  # of the folds, and of all rows for the refit
    with_memory = search.cv_results_["mean_test_score"]
    teacher_fits.clear()
    search.set_params(estimator=distilled()).fit(windows, data.y, groups=data.groups)
    assert len(teacher_fits) == 2 * len(ParameterGrid(grid)) + 1
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], with_memory)


def test_memory_of_a_pipeline_cuts_windows_once(data, tmp_path):
    pipe = Pipeline(
        [("windows", PPGWindower()), ("student", DistilledStudentRegressor(**SMALL))],
        memory=str(tmp_path),
    )
    first = pipe.fit(data.X, data.y).predict(data.X)
    (cut,) = tmp_path.rglob("output.pkl")
    before = cut.stat().st_mtime_ns
    again = pipe.set_params(student__lr=1e-3).fit(data.X, data.y).predict(data.X)
    np.testing.assert_array_equal(first, again)
    assert cut.stat().st_mtime_ns == before


def test_nested_cross_validation(data):
    pipe = make_pipeline(PPGWindower(), DistilledStudentRegressor(**SMALL))
    inner = GridSearchCV(
        pipe, {"distilledstudentregressor__lr": [1e-3, 1e-1]}, cv=2, error_score="raise"
    )
    scores = cross_val_score(
        inner, data.X, data.y, groups=data.groups, cv=LeaveOneGroupOut(), error_score="raise"
    )
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()


def test_halving_search_spends_epochs(data, windows):
    search = HalvingRandomSearchCV(
        DistilledStudentRegressor(**SMALL),
        {"lr": [1e-4, 1e-3, 1e-2, 1e-1], "weight_decay": [0.0, 1e-3]},
        resource="max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        n_candidates=4,
        cv=GroupKFold(2),
        random_state=0,
        error_score="raise",
    )
    search.fit(windows, data.y, groups=data.groups)
    assert search.n_resources_ == [1, 2, 4]
    assert len(search.best_estimator_.history_) == 4


def test_cross_val_predict_gives_rows_in_their_order(data):
    pipe = make_pipeline(PPGWindower(), DistilledStudentRegressor(**SMALL))
    order = np.random.default_rng(0).permutation(len(data.y))
    X = [data.X[row] for row in order]
    cv = LeaveOneGroupOut()
    predicted = cross_val_predict(pipe, X, data.y[order], groups=data.groups[order], cv=cv)
    for train, test in cv.split(X, groups=data.groups[order]):
        pipe.fit([X[row] for row in train], data.y[order][train])
        expected = pipe.predict([X[row] for row in test])
        np.testing.assert_array_equal(predicted[test], expected)


def test_permutation_test_score_takes_readings(data):
    pipe = make_pipeline(PPGWindower(), DistilledStudentRegressor(**SMALL))
    score, permuted, p_value = permutation_test_score(
        pipe, data.X, data.y, groups=data.groups, cv=GroupKFold(2), n_permutations=3
    )
    assert np.isfinite([score, *permuted, p_value]).all()


def test_the_target_may_be_transformed(data, windows):
    model = TransformedTargetRegressor(
        DistilledStudentRegressor(**SMALL), func=np.log, inverse_func=np.exp
    )
    assert (model.fit(windows, data.y).predict(windows) > 0).all()
    assert model.regressor_.predict(windows).max() < 10


def test_regressors_may_be_stacked(data, windows):
    stack = StackingRegressor(
        [
            ("teacher", PulseTeacherRegressor(**SMALL)),
            ("student", DistilledStudentRegressor(**SMALL)),
        ],
        final_estimator=Ridge(),
        cv=GroupKFold(2).split(windows, data.y, data.groups),
    )
    stack.set_params(cv=list(stack.cv))
    assert stack.fit(windows, data.y).transform(windows).shape == (len(windows), 2)
    assert stack.predict(windows).shape == data.y.shape


def test_heart_rate_is_a_feature_of_a_stress_classifier(data):
    # the student learnt heart rate before; a classifier's fit would teach it the classes
    student = DistilledStudentRegressor(**SMALL).fit(PPGWindower().fit_transform(data.X), data.y)
    features = FeatureUnion(
        [
            ("heart", FrozenEstimator(student)),
            ("motion", FunctionTransformer(lambda windows: windows[:, 1:].std(axis=2))),
        ]
    )
    stressed = np.where(data.y > np.median(data.y), "stressed", "calm")
    pipe = make_pipeline(PPGWindower(), features, StandardScaler(), RidgeClassifier())
    scores = cross_val_score(
        pipe, data.X, stressed, groups=data.groups, cv=GroupKFold(2), error_score="raise"
    )
    assert np.isfinite(scores).all()
    pipe.fit(data.X, stressed)
    assert pipe[:-2].transform(data.X).shape == (len(data.y), 32 + 3)
    assert student.transform(PPGWindower().fit_transform(data.X)).dtype == np.float64
    assert set(pipe.predict(data.X)) <= {"stressed", "calm"}


@pytest.mark.parametrize("regressor", [PulseTeacherRegressor, DistilledStudentRegressor])
def test_the_embedding_has_names_and_goes_into_a_frame(regressor, data, windows):
    model = regressor(**SMALL).fit(windows, data.y)
    names = model.get_feature_names_out()
    assert names[0] == f"{regressor.__name__.lower()}0"
    assert len(names) == 32
    frame = model.set_output(transform="pandas").transform(windows)
    assert list(frame.columns) == list(names)
    np.testing.assert_array_equal(
        frame.to_numpy(), model.set_output(transform="default").transform(windows)
    )


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_scorers_judge_a_search_by_name(name, data):
    pipe = make_pipeline(PPGWindower(), DistilledStudentRegressor(**SMALL))
    scores = cross_val_score(
        pipe,
        data.X,
        data.y,
        groups=data.groups,
        cv=GroupKFold(2),
        scoring=get_scorer(name),
        error_score="raise",
    )
    train, test = list(GroupKFold(2).split(data.X, groups=data.groups))[1]
    X, y, groups = [data.X[row] for row in test], data.y[test], data.groups[test]
    predicted = pipe.fit([data.X[row] for row in train], data.y[train]).predict(X)
    expected = {
        "neg_subject_mean_absolute_error": -subject_mean_absolute_error(y, predicted, groups),
        "neg_post_processed_mean_absolute_error": -subject_mean_absolute_error(
            y, causal_clip_readings(X, predicted), groups
        ),
        "share_within_5_bpm": share_within(y, predicted, 5.0),
    }
    assert scores[1] == pytest.approx(expected[name])


def test_a_search_may_report_several_scorers(data):
    pipe = make_pipeline(PPGWindower(), DistilledStudentRegressor(**SMALL))
    search = GridSearchCV(
        pipe,
        {"distilledstudentregressor__lr": [1e-3]},
        scoring=dict(SCORERS),
        refit="neg_subject_mean_absolute_error",
        cv=GroupKFold(2),
        error_score="raise",
    )
    search.fit(data.X, data.y, groups=data.groups)
    assert {f"mean_test_{name}" for name in SCORERS} <= set(search.cv_results_)


def test_scorers_of_readings_say_what_to_do_with_windows(data, windows):
    model = DistilledStudentRegressor(**SMALL).fit(windows, data.y)
    with pytest.raises(TypeError, match=r"X must hold readings.* for windows take .*make_scorer"):
        get_scorer("neg_subject_mean_absolute_error")(model, windows, data.y)
    share = get_scorer("share_within_5_bpm")(model, windows, data.y)
    assert share == share_within(data.y, model.predict(windows))


def test_the_recipe_for_windows_works(data, windows):
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(subject_mean_absolute_error, greater_is_better=False)
        scorer.set_score_request(groups=True)
        scores = cross_val_score(
            DistilledStudentRegressor(**SMALL),
            windows,
            data.y,
            params={"groups": data.groups},
            cv=GroupKFold(2),
            scoring=scorer,
            error_score="raise",
        )
    assert (scores < 0).all()


def test_names_of_scikit_learn_are_known_too():
    assert repr(get_scorer("r2")) == repr(sklearn.metrics.get_scorer("r2"))


def test_unknown_scorers_are_refused():
    with pytest.raises(ValueError, match=r"name must be one of \['neg_.*names.., got 'mae'"):
        get_scorer("mae")
