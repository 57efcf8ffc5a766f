"""The published protocol: who trains, who validates, who is tested."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

import pulsehr._training
from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr._splitting import hold_out
from pulsehr.datasets import make_recordings
from pulsehr.model_selection import (
    PPG_DALIA_BLOCKS,
    FitWithoutValidation,
    LeaveOneSubjectOut,
    RestOfBlock,
)

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
BLOCKS = (("synthetic_00", "synthetic_01"), ("synthetic_02", "synthetic_03", "synthetic_04"))


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=5, duration=40, random_state=0)


@pytest.fixture
def held_out(monkeypatch):
    """Subjects that trained and validated, of every training."""
    seen = []
    hold_out = pulsehr._training.hold_out

    def spy(n_rows, groups, fraction, rng):
        train, valid = hold_out(n_rows, groups, fraction, rng)
        seen.append((sorted(set(groups[train].tolist())), sorted(set(groups[valid].tolist()))))
        return train, valid

    monkeypatch.setattr(pulsehr._training, "hold_out", spy)
    return seen


def paper_pipeline(regressor):
    windower = PPGWindower(normalize="channel", antialias=False)
    return make_pipeline(FitWithoutValidation(windower, RestOfBlock(BLOCKS)), regressor)


def test_the_published_groups_are_those_of_the_paper():
    numbers = [[int(name.removeprefix("ppg_dalia_S")) for name in b] for b in PPG_DALIA_BLOCKS]
    assert numbers == [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15], [1, 2, 3, 4]]


def test_each_subject_is_tested_once_the_rest_of_its_group_validates_and_the_others_train():
    groups = np.repeat([f"ppg_dalia_S{n}" for n in range(1, 16)], 3)
    cv = LeaveOneSubjectOut()
    assert cv.get_n_splits() == 15
    tested = []
    for rows, test in cv.split(groups, groups=groups):
        (subject,) = set(groups[test].tolist())
        tested.append(subject)
        train, valid = next(cv.validation.split(rows, groups=groups[rows]))
        (block,) = [block for block in PPG_DALIA_BLOCKS if subject in block]
        assert set(groups[rows][valid].tolist()) == set(block) - {subject}
        assert set(groups[rows][train].tolist()) == set(groups.tolist()) - set(block)
        assert len(set(groups[rows][train].tolist())) in (11, 12)
    assert sorted(tested) == sorted(set(groups.tolist()))


def test_folds_are_those_of_scikit_learn_in_another_order(data):
    cv = LeaveOneSubjectOut(BLOCKS)
    ours = {tuple(test): train.tolist() for train, test in cv.split(data.X, groups=data.groups)}
    theirs = LeaveOneGroupOut().split(data.X, groups=data.groups)
    assert ours == {tuple(test): train.tolist() for train, test in theirs}


def test_readings_say_who_they_are(data):
    cv = LeaveOneSubjectOut(BLOCKS)
    with_groups = cv.split(data.X, groups=data.groups)
    for one, other in zip(cv.split(data.X), with_groups, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("routing", [False, True])
def test_early_stopping_watches_the_rest_of_the_block_in_cross_validation(data, held_out, routing):
    cv = LeaveOneSubjectOut(BLOCKS)
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=cv.validation)
    pipe = paper_pipeline(teacher)
    last = "pulseteacherregressor"
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_validate(
            pipe,
            data.X,
            data.y,
            cv=cv,
            params={"groups" if routing else f"{last}__groups": data.groups},
            error_score="raise",
            scoring="neg_mean_absolute_error",
            **({} if routing else {"groups": data.groups}),
        )
    assert len(scores["test_score"]) == 5
    first, second = map(list, BLOCKS)
    expected = [(second, [s for s in first if s != tested]) for tested in first]
    expected += [(first, [s for s in second if s != tested]) for tested in second]
    assert held_out == expected


def test_a_student_and_its_teacher_watch_the_same_subjects(data, held_out):
    split = RestOfBlock(BLOCKS)
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=split)
    student = DistilledStudentRegressor(teacher, **SMALL, validation_fraction=split)
    rows = np.flatnonzero(data.groups != "synthetic_03")
    X, y, groups = data.X[rows], data.y[rows], data.groups[rows]
    paper_pipeline(student).fit(X, y, distilledstudentregressor__groups=groups)
    assert held_out == [(list(BLOCKS[0]), ["synthetic_02", "synthetic_04"])] * 2


def test_mean_and_scale_are_learnt_without_those_who_validate_and_those_who_are_tested(data):
    rows = np.flatnonzero(data.groups != "synthetic_01")
    X = data.X[rows]
    windower = FitWithoutValidation(PPGWindower(normalize="channel"), RestOfBlock(BLOCKS))
    windows = windower.fit_transform(X)
    trained = np.isin(data.groups, BLOCKS[1])
    alone = PPGWindower(normalize="channel").fit(data.X[trained])
    np.testing.assert_array_equal(windower.transformer_.mean_, alone.mean_)
    np.testing.assert_array_equal(windower.transformer_.scale_, alone.scale_)
    np.testing.assert_array_equal(windows, alone.transform(X))


def test_any_splitter_may_hold_rows_out(data, held_out):
    windows = PPGWindower().fit_transform(data.X)
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=GroupKFold(5))
    teacher.fit(windows, data.y, groups=data.groups)
    ((train, valid),) = held_out
    assert (len(train), len(valid)) == (4, 1)
    fold = np.where(np.arange(len(data.y)) < 10, 0, -1)
    train, valid = hold_out(len(data.y), None, PredefinedSplit(fold), np.random.RandomState(0))
    assert valid.tolist() == list(range(10))
    assert train.tolist() == list(range(10, len(data.y)))


class Everything:
    """A splitter whose rows validate and train."""

    def split(self, X, y=None, groups=None):
        yield np.arange(len(X)), np.arange(len(X))

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1


def test_a_split_that_leaks_is_refused(data):
    windows = PPGWindower().fit_transform(data.X)
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=Everything())
    with pytest.raises(ValueError, match=r"validation_fraction: the first split of .* in both"):
        teacher.fit(windows, data.y)
    with pytest.raises(ValueError, match=r"FitWithoutValidation: the first split of .* in both"):
        FitWithoutValidation(PPGWindower(), Everything()).fit(data.X)


@pytest.mark.parametrize("wrong", ["half", [0.1], None])
def test_what_is_no_splitter_is_no_validation_fraction(data, wrong):
    windows = PPGWindower().fit_transform(data.X)
    with pytest.raises(ValueError, match="from 0 to below 1, or a cross-validation splitter"):
        PulseTeacherRegressor(validation_fraction=wrong).fit(windows, data.y)


def test_subjects_that_are_missing_or_unknown_are_named(data):
    cv = LeaveOneSubjectOut()
    some = [f"ppg_dalia_S{n}" for n in range(1, 15)]
    with pytest.raises(ValueError, match=r"rows of all subjects .* none of \['ppg_dalia_S15'\]"):
        next(cv.split(some, groups=some))
    with pytest.raises(ValueError, match=r"must be subjects of blocks, got \['synthetic_00', 's"):
        next(cv.split(data.X))
    with pytest.raises(ValueError, match="groups must name the subject of each row, got None"):
        next(cv.split([1, 2]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(LeaveOneSubjectOut(BLOCKS).split(data.X, groups=data.groups[:-1]))
    twice = RestOfBlock([["a", "b"], ["b"]])
    with pytest.raises(ValueError, match="blocks must name each subject once"):
        next(twice.split("ab", groups=["a", "b"]))


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ("abcd", "got rows without none"),
        ("ac", r"got rows without \['b', 'd'\]"),
        ("ab", r"got rows without \['c', 'd'\]"),
    ],
)
def test_who_validates_must_be_plain(subjects, message):
    split = RestOfBlock([["a", "b"], ["c", "d"]])
    with pytest.raises(ValueError, match=message):
        next(split.split(subjects, groups=list(subjects)))


def test_what_is_fitted_can_be_cloned_stored_and_tells_its_parameters(data):
    rows = np.flatnonzero(data.groups != "synthetic_03")
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=RestOfBlock(BLOCKS))
    pipe = clone(paper_pipeline(teacher))
    pipe.fit(data.X[rows], data.y[rows], pulseteacherregressor__groups=data.groups[rows])
    without_wrapper = make_pipeline(pipe[0].transformer_, pipe[1])
    np.testing.assert_array_equal(without_wrapper.predict(data.X), pipe.predict(data.X))
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.predict(data.X), pipe.predict(data.X))
    assert repr(LeaveOneSubjectOut(BLOCKS).validation) == f"RestOfBlock(blocks={BLOCKS})"
    assert "fitwithoutvalidation__transformer__normalize" in pipe.get_params()
    frozen = FrozenEstimator(pipe)
    cross_val_predict(frozen, data.X, data.y, cv=LeaveOneSubjectOut(BLOCKS), groups=data.groups)


def test_a_pipeline_with_the_splitter_is_read_by_skops(data, tmp_path):
    skops_io = pytest.importorskip("skops.io", reason="skops is optional: pip install skops")
    from pulsehr.persistence import TRUSTED_TYPES

    rows = np.flatnonzero(data.groups != "synthetic_03")
    teacher = PulseTeacherRegressor(**SMALL, validation_fraction=RestOfBlock(BLOCKS))
    pipe = paper_pipeline(teacher)
    pipe.fit(data.X[rows], data.y[rows], pulseteacherregressor__groups=data.groups[rows])
    skops_io.dump(pipe, tmp_path / "pipe.skops")
    again = skops_io.load(tmp_path / "pipe.skops", trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(again.predict(data.X), pipe.predict(data.X))
