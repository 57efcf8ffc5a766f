"""Pictures of heart rates and of memory plans, as Display classes like those of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulsehr._rows import group_by_recording, readings_in
from pulsehr.firmware.memory import Block
from pulsehr.recordings import Reading

if TYPE_CHECKING:
    from pulsehr.firmware.microcontroller import MicrocontrollerModel

#: Colour and meaning of the kinds of blocks.
BLOCK_KINDS = {
    "input": ("#9ecae1", "whole input of a segment or layer"),
    "lines": ("#fdd0a2", "steps held inside a segment"),
    "scratch": ("#c7e9c0", "scratch of a kernel"),
}


class HeartRateDisplay:
    """Show predicted and labelled heart rates of one recording over time.

    Made by `from_predictions`; attributes hold what is drawn, and `plot` draws it again.

    Parameters
    ----------
    instants : ndarray of shape (n_readings,)
        Seconds after the start of the recording, increasing.
    predictions : dict of str to ndarray of shape (n_readings,)
        Predicted heart rates in bpm by the name that the legend shows.
    heart_rate : ndarray of shape (n_readings,)
        Labels in bpm, NaN where there is none.
    name : str, default=""
        Name of the recording.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.plotting import HeartRateDisplay
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> display = HeartRateDisplay.from_predictions(
    ...     data.X, {"too high": data.y + 2}, ax=Figure().subplots()
    ... )
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('time (s)', 'heart rate (bpm)')
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['label', 'too high, MAE 2.0 bpm']
    """

    def __init__(
        self,
        instants: NDArray[np.float64],
        predictions: Mapping[str, NDArray[np.float64]],
        heart_rate: NDArray[np.float64],
        name: str = "",
    ) -> None:
        self.instants = instants
        self.predictions = predictions
        self.heart_rate = heart_rate
        self.name = name

    @classmethod
    def from_predictions(
        cls,
        X: Sequence[Reading],
        heart_rate: ArrayLike | Mapping[str, ArrayLike],
        *,
        ax: Any = None,
        label: str = "predicted",
    ) -> HeartRateDisplay:
        """Draw predicted heart rates over time, with the labels that the readings have.

        Parameters
        ----------
        X : list of Reading, length n_readings
            Readings of one recording, in any order.
        heart_rate : array-like of shape (n_readings,), or dict of str to array-like
            Predicted heart rates in bpm, or several of them by name.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        label : str, default="predicted"
            What the legend calls the predictions if they have no names.

        Returns
        -------
        HeartRateDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If X does not hold readings.
        ValueError
            If the readings are of several recordings, or lengths differ.
        ImportError
            If matplotlib is not installed.
        """
        if readings_in(X) is None:
            raise TypeError(f"HeartRateDisplay: X must hold readings, got {type(X).__name__}")
        recordings = [recording for recording, _ in group_by_recording(X)]
        if len(recordings) > 1:
            raise ValueError(
                f"HeartRateDisplay: X must hold readings of one recording, got {len(recordings)}"
            )
        instants = np.array([reading.instant for reading in X])
        # a missing label (None) becomes NaN, which leaves a gap in the line
        labels = np.array([reading.heart_rate for reading in X], dtype=np.float64)
        in_time = np.argsort(instants, kind="stable")
        by_name = heart_rate if isinstance(heart_rate, Mapping) else {label: heart_rate}
        display = cls(
            instants[in_time],
            {name: _values(name, values, len(X))[in_time] for name, values in by_name.items()},
            labels[in_time],
            recordings[0].name,
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> HeartRateDisplay:
        """Draw labels as a line and predictions as points, with their mean absolute errors (MAE).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        HeartRateDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            ax = _new_axes(type(self).__name__)
        labelled = np.isfinite(self.heart_rate)
        if labelled.any():
            ax.plot(self.instants, self.heart_rate, color="black", zorder=3, label="label")
        for name, values in self.predictions.items():
            if labelled.any():
                name += _judged(np.abs(values - self.heart_rate)[labelled])
            # points: each reading is estimated by itself, a line would join outliers
            ax.plot(self.instants, values, ".", markersize=5, label=name)
        ax.set(xlabel="time (s)", ylabel="heart rate (bpm)")
        # above the axes, where it hides no point
        ax.legend(title=self.name, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        self.ax_, self.figure_ = ax, ax.figure
        return self


class MemoryPlanDisplay:
    """Show where the tensors of a firmware lie in its arena, step by step.

    Made by `from_model`; attributes hold what is drawn, and `plot` draws it again.

    Parameters
    ----------
    blocks : tuple of Block
        Stretches of the arena: bytes, offset, and the first and last step in which each is in use.
    steps : list of str
        Names of the steps, in the order in which they run.
    arena_bytes : int
        Size of the arena.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn last.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.plotting import MemoryPlanDisplay
    >>> data = make_recordings(n_subjects=1, duration=30, random_state=0)
    >>> X = PPGWindower().fit_transform(data.X)
    >>> student = DistilledStudentRegressor(max_epochs=1, random_state=0).fit(X, data.y)
    >>> model = to_microcontroller(student)
    >>> display = MemoryPlanDisplay.from_model(model, ax=Figure().subplots())
    >>> len(display.ax_.patches) == len(model.plan.blocks)
    True
    """

    def __init__(self, blocks: Sequence[Block], steps: Sequence[str], arena_bytes: int) -> None:
        self.blocks = blocks
        self.steps = steps
        self.arena_bytes = arena_bytes

    @classmethod
    def from_model(cls, model: MicrocontrollerModel, *, ax: Any = None) -> MemoryPlanDisplay:
        """Draw the memory plan of an exported model.

        Parameters
        ----------
        model : MicrocontrollerModel
            From `to_microcontroller`.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        MemoryPlanDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plan = model.plan
        return cls(plan.blocks, plan.schedule.step_names, plan.arena_bytes).plot(ax)

    def plot(self, ax: Any = None) -> MemoryPlanDisplay:
        """Draw a rectangle for each block: the steps of its use across, its bytes upwards.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        MemoryPlanDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            ax = _new_axes(type(self).__name__)
        bars = {}
        for block in self.blocks:
            color, _ = BLOCK_KINDS[block.kind]
            width = block.last + 1 - block.first
            bars[block.kind] = ax.bar(
                block.first,
                block.n_bytes,
                width,
                bottom=block.offset,
                align="edge",
                color=color,
                edgecolor="black",
                linewidth=0.8,
            )
            ax.text(
                block.first + width / 2,
                block.offset + block.n_bytes / 2,
                f"{block.name}, {block.n_bytes:,} B",
                ha="center",
                va="center",
                fontsize="x-small",
                clip_on=True,
            )
        ax.legend(
            list(bars.values()),
            [BLOCK_KINDS[kind][1] for kind in bars],
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
        )
        centres = [step + 0.5 for step in range(len(self.steps))]
        ax.set_xticks(centres, self.steps, rotation=20, ha="right")
        ax.set(
            xlim=(0, len(self.steps)),
            ylim=(0, self.arena_bytes),
            xlabel="step",
            ylabel=f"byte of the arena (of {self.arena_bytes:,})",
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _judged(errors: NDArray[np.float64]) -> str:
    """Say the mean of errors (n_labels,) in bpm, and how many readings have no heart rate."""
    unknown = np.isnan(errors)
    mean = "" if unknown.all() else f", MAE {errors[~unknown].mean():.1f} bpm"
    return mean + (f", {int(unknown.sum())} of {len(errors)} NaN" if unknown.any() else "")


def _values(name: str, values: ArrayLike, n_readings: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n_readings,):
        raise ValueError(
            f"HeartRateDisplay: {name!r} must have one heart rate per reading, shape "
            f"({n_readings},), got {array.shape}"
        )
    return array


def _new_axes(name: str) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f'{name} needs matplotlib: pip install "pulsehr[plot]"') from error
    return plt.subplots(layout="constrained")[1]
