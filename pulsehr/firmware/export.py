"""`to_microcontroller`: from a fitted estimator to a `MicrocontrollerModel`."""

from __future__ import annotations

import os
from typing import Any

from pulsehr.firmware.exportable import split_estimator, without_tracker
from pulsehr.firmware.front import design_front
from pulsehr.firmware.lowering import quantized_graph
from pulsehr.firmware.microcontroller import MicrocontrollerModel


def to_microcontroller(
    estimator: Any,
    folder: str | os.PathLike[str] | None = None,
    prefix: str = "pulsehr",
    target: str = "portable",
    *,
    layout: str = "c",
    ppg_rate: float | None = None,
    acc_rate: float | None = None,
    ppg_step: float | None = None,
    acc_step: float = 1 / 4096,
    stride: float = 2.0,
    clip: bool = False,
) -> MicrocontrollerModel:
    """Write a fitted student, or a whole pipeline from samples on, as C in integers.

    Parameters
    ----------
    estimator : DistilledStudentRegressor, Pipeline or HeartRateTracker
        Fitted; a pipeline is a `PPGWindower` and a student. A student alone takes windows, and
        nothing of sensors. A `HeartRateTracker` of a pipeline, with "clip" or "kalman" and without
        a lookahead, is exported with its filter.
    folder : path-like, default=None
        Where to write the files; None writes nothing.
    prefix : str, default="pulsehr"
        Starts every symbol and file name.
    target : {"portable", "cmsis-nn"}, default="portable"
        What the C is written for.
    layout : {"c", "arduino"}, default="c"
        For CMake, Make and Zephyr, or a library of the Arduino IDE.
    ppg_rate, acc_rate : float, default=None
        Rates of the sensors in Hz, whole multiples of the windower's `sampling_rate`; None takes
        that.
    ppg_step : float, default=None
        What one count of the PPG stands for, in units of the recordings of training. With
        ``normalize="window"`` any unit will do.
    acc_step : float, default=1/4096
        What one count of the acceleration stands for, in g.
    stride : float, default=2.0
        Seconds from one heart rate to the next.
    clip : bool, default=False
        Keep each heart rate near those before, as `pulsehr.tracking.causal_clip` does, whatever
        the gaps between them.

    Returns
    -------
    MicrocontrollerModel
        Files, exact results and sizes.

    Raises
    ------
    NotFittedError
        If the student is not fitted.
    TypeError
        If `estimator` is not a student, nor a pipeline of a windower and one.
    ValueError
        If prefix, target, a rate or a step is not valid, the network cannot be quantized, or a
        tracker has no counterpart in C.

    Examples
    --------
    >>> from pulsehr import DistilledStudentRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr import to_microcontroller
    >>> from pulsehr.windows import PPGWindower
    >>> data = make_recordings(n_subjects=1, duration=30, random_state=0)
    >>> X = PPGWindower().fit_transform(data.X)
    >>> student = DistilledStudentRegressor(max_epochs=1, random_state=0).fit(X, data.y)
    >>> model = to_microcontroller(student)
    >>> sorted(model.files)[:3]
    ['CMakeLists.txt', 'LICENSE', 'Makefile']
    """
    estimator, tracker = without_tracker(estimator)
    front, windower, student = split_estimator(estimator)
    graph = quantized_graph(student)
    front_end = None
    sensors = (ppg_rate, acc_rate, ppg_step, acc_step, stride, clip, tracker)
    if windower is None and sensors != (None, None, None, 1 / 4096, 2.0, False, None):
        raise ValueError(
            "to_microcontroller: rates and steps of sensors, stride, clip and a HeartRateTracker "
            "need a PPGWindower, and the student comes alone: export the pipeline, or leave them "
            "out"
        )
    if clip and tracker is not None:
        raise ValueError(
            f"to_microcontroller: clip must be False with a HeartRateTracker, which says what is "
            f"done over time (method={tracker.method!r}), got True: leave it out"
        )
    if windower is not None:
        front_end = design_front(
            windower,
            graph.input_format,
            ppg_rate=ppg_rate,
            acc_rate=acc_rate,
            ppg_step=ppg_step,
            acc_step=acc_step,
            stride=stride,
            clip=clip,
            tracker=tracker,
            with_std=graph.n_outputs == 2,
        )
    model = MicrocontrollerModel(graph, prefix, target, front, front_end, layout)
    if folder is not None:
        model.write(folder)
    return model
