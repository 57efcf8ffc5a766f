"""Who trains, who validates, who is tested: the published protocol as scikit-learn objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from pulsehr._rows import readings_in
from pulsehr._splitting import first_split
from pulsehr._validation import restored_on_error
from pulsehr.recordings import ReadingList

Blocks = Sequence[Sequence[str]]
Rows = NDArray[np.intp]

#: The subjects of PPG-DaLiA as the paper groups them: when one is tested, the rest of the group
#: validates.
PPG_DALIA_BLOCKS = tuple(
    tuple(f"ppg_dalia_S{n}" for n in numbers)
    for numbers in (range(5, 9), range(9, 13), range(13, 16), range(1, 5))
)


class LeaveOneSubjectOut(BaseCrossValidator):
    """Test each subject of some blocks once, in their order, on what is learnt from the others.

    The folds are those of `sklearn.model_selection.LeaveOneGroupOut`, of exactly the subjects
    that a protocol names: a download that lacks one is another experiment, and refused.

    Parameters
    ----------
    blocks : sequence of sequence of str, default=PPG_DALIA_BLOCKS
        Subjects by block, each once.

    Attributes
    ----------
    validation : RestOfBlock
        Who of the others validates, for `validation_fraction` and `FitWithoutValidation`.

    Examples
    --------
    >>> from pulsehr.model_selection import LeaveOneSubjectOut
    >>> cv = LeaveOneSubjectOut(blocks=[["a", "b"], ["c", "d"]])
    >>> [test.tolist() for _, test in cv.split([0] * 5, groups=["d", "a", "b", "c", "a"])]
    [[1, 4], [2], [3], [0]]
    """

    # asked for by default, as of scikit-learn's splitters by group
    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(self, blocks: Blocks = PPG_DALIA_BLOCKS) -> None:
        self.blocks = blocks

    @property
    def validation(self) -> RestOfBlock:
        """Who of the subjects that are not tested validates."""
        return RestOfBlock(self.blocks)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield the rows of the others, and of the subject.

        Parameters
        ----------
        X : sequence of length n_rows
            The rows.
        y : ignored
            Present for the API.
        groups : array-like of str, shape (n_rows,), default=None
            Subject of each row; None: as readings say it.

        Yields
        ------
        train, test : ndarray of int
            Rows.

        Raises
        ------
        ValueError
            If the subjects are not those of the blocks.
        """
        subjects = _subjects(self, X, groups)
        missing = sorted({s for block in self.blocks for s in block} - set(subjects.tolist()))
        if missing:
            raise ValueError(
                f"LeaveOneSubjectOut: expected rows of all subjects of blocks, got none of "
                f"{missing}: load them, or name the blocks that there are"
            )
        for block in self.blocks:
            for subject in block:
                tested = subjects == subject
                yield np.flatnonzero(~tested), np.flatnonzero(tested)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the subjects.

        Parameters
        ----------
        X, y, groups : ignored
            Present for the API.

        Returns
        -------
        int
            One fold for each.
        """
        return sum(len(block) for block in self.blocks)


class RestOfBlock(BaseCrossValidator):
    """Let the rest of the block validate of which a subject is missing, as it is tested.

    For the rows of a fold of `LeaveOneSubjectOut`: as `validation_fraction` of an estimator,
    which then stops early by these subjects, and of `FitWithoutValidation`.

    Parameters
    ----------
    blocks : sequence of sequence of str, default=PPG_DALIA_BLOCKS
        Subjects by block, each once.

    Examples
    --------
    >>> from pulsehr.model_selection import RestOfBlock
    >>> split = RestOfBlock(blocks=[["a", "b"], ["c", "d"]])
    >>> [part.tolist() for part in next(split.split([0] * 4, groups=["d", "b", "c", "b"]))]
    [[0, 2], [1, 3]]
    """

    __metadata_request__split: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(self, blocks: Blocks = PPG_DALIA_BLOCKS) -> None:
        self.blocks = blocks

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[Rows, Rows]]:
        """Yield the rows that train, and those that validate, once.

        Parameters
        ----------
        X : sequence of length n_rows
            The rows.
        y : ignored
            Present for the API.
        groups : array-like of str, shape (n_rows,), default=None
            Subject of each row; None: as readings say it.

        Yields
        ------
        train, valid : ndarray of int
            Rows.

        Raises
        ------
        ValueError
            If not exactly one block lacks some, but not all, of its subjects.
        """
        subjects = _subjects(self, X, groups)
        there = set(subjects.tolist())
        lacking = [block for block in self.blocks if not there.issuperset(block)]
        if len(lacking) != 1 or there.isdisjoint(lacking[0]):
            absent = sorted(s for block in lacking for s in block if s not in there)
            raise ValueError(
                f"RestOfBlock: expected one block to lack some of its subjects, the tested ones, "
                f"got rows without {absent or 'none'}: split them by LeaveOneSubjectOut first"
            )
        valid = np.isin(subjects, list(lacking[0]))
        yield np.flatnonzero(~valid), np.flatnonzero(valid)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return 1.

        Parameters
        ----------
        X, y, groups : ignored
            Present for the API.

        Returns
        -------
        int
            There is one split.
        """
        return 1


class FitWithoutValidation(TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit a transformer on the rows that train, and transform all of them.

    Mean and scale of a `PPGWindower` with ``normalize="channel"`` are learnt from rows, and
    those that validate are none of them in the paper.

    Parameters
    ----------
    transformer : transformer
        It is cloned and fitted.
    validation : cross-validation splitter
        The first part of its first split is what the transformer is fitted on: such as
        `RestOfBlock`, the same as `validation_fraction` of the estimator behind it.

    Attributes
    ----------
    transformer_ : transformer
        The fitted one.

    Examples
    --------
    >>> from sklearn.model_selection import LeaveOneGroupOut
    >>> from pulsehr import PPGWindower
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.model_selection import FitWithoutValidation
    >>> data = make_recordings(n_subjects=2, duration=60, random_state=0)
    >>> windower = FitWithoutValidation(PPGWindower(normalize="channel"), LeaveOneGroupOut())
    >>> windower.fit_transform(data.X).shape
    (54, 4, 256)
    """

    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    def __init__(self, transformer: Any, validation: Any) -> None:
        self.transformer = transformer
        self.validation = validation

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> FitWithoutValidation:
        """Fit a clone of the transformer on the rows that train.

        Parameters
        ----------
        X : list of Reading, or ndarray of shape (n_rows, ...)
            The rows.
        y : array-like of shape (n_rows,), default=None
            For the transformer.
        groups : array-like of shape (n_rows,), default=None
            Subject of each row; None: as readings say it.

        Returns
        -------
        FitWithoutValidation
            Itself.
        """
        readings = readings_in(X)
        rows = np.asarray(X) if readings is None else ReadingList(readings)
        if groups is None and readings is not None:
            groups = [reading.subject for reading in readings]
        train, _ = first_split("FitWithoutValidation", self.validation, len(rows), groups)
        with restored_on_error(self):
            taught = None if y is None else np.asarray(y)[train]
            self.transformer_ = clone(self.transformer).fit(rows[train], taught)
        return self

    def transform(self, X: Any) -> Any:
        """Transform rows.

        Parameters
        ----------
        X : list of Reading, or ndarray of shape (n_rows, ...)
            The rows.

        Returns
        -------
        ndarray
            What the transformer makes of them.
        """
        check_is_fitted(self)
        return self.transformer_.transform(X)

    def __sklearn_tags__(self) -> Any:
        """Take what the transformer takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.transformer).input_tags
        return tags


def _subjects(splitter: Any, X: Any, groups: Any) -> NDArray[Any]:
    """Return the subject of each row, which must be one of the blocks."""
    who = type(splitter).__name__
    if groups is None:
        readings = readings_in(X)
        if readings is None:
            raise ValueError(f"{who}: groups must name the subject of each row, got None")
        groups = [reading.subject for reading in readings]
    subjects = column_or_1d(groups)
    check_consistent_length(X, subjects)
    known = [subject for block in splitter.blocks for subject in block]
    if len(set(known)) < len(known):
        raise ValueError(f"{who}: blocks must name each subject once, got {splitter.blocks!r}")
    others = sorted(set(subjects.tolist()) - set(known))
    if others:
        raise ValueError(
            f"{who}: groups must be subjects of blocks, got {others[:5]}: leave them out, or give "
            f"the blocks of these subjects"
        )
    return subjects
