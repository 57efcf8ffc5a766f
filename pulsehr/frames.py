"""How a table of samples becomes a `Recording`, and what was done for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pulsehr._columns import numbers, seconds_of, stamps_of
from pulsehr._time_stamps import SNAP, Pace, Rows, pace_of, place, sorted_rows
from pulsehr.exceptions import RepairedDataWarning
from pulsehr.recordings import MAX_END_DIFFERENCE, Recording, is_number

FloatArray: TypeAlias = NDArray[np.float64]

WHO = "Recording.from_frame"

#: What one unit of acceleration is in g.
ACC_UNITS = {"g": 1.0, "mg": 1e-3, "m/s^2": 1 / 9.80665}

#: What one unit of time is in seconds.
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

#: Shares of a signal, missing or interpolated, and relative clock drift that are warned of.
MAX_QUIET_SHARE, MAX_QUIET_DRIFT = 0.01, 1e-3

#: What to do about a table without acceleration.
ACC_MEND = "name the three with acc=, pass their own table as acc_frame=, or take acc=None"
#: A wrist feels about 1 g; less than this median (g) is another unit, or freed of gravity.
MIN_MEDIAN_ACC = 0.3


@dataclass(frozen=True)
class SensorReport:
    """Say how the rows of a table became the samples of one sensor.

    Parameters
    ----------
    rate, measured_rate : float
        Rate of the samples, and that of the rows by their time stamps, in Hz.
    n_rows, n_doubled : int
        Rows that hold the sensor, and how many of them said the same twice.
    n_samples, n_interpolated, n_missing : int
        Samples in the recording, and how many of them are interpolated and NaN.
    jitter : float
        Seconds from a regular grid that 95 % of the time stamps keep.
    """

    rate: float
    measured_rate: float
    n_rows: int
    n_doubled: int
    n_samples: int
    n_interpolated: int
    n_missing: int
    jitter: float

    def faults(self, sensor: str) -> list[str]:
        """List what a user should know, in words.

        Parameters
        ----------
        sensor : str
            "ppg" or "acc".

        Returns
        -------
        list of str
            Empty if nothing is worth a warning.
        """
        told = []
        if self.n_missing > MAX_QUIET_SHARE * self.n_samples:
            told.append(f"{self.n_missing / self.n_samples:.1%} of {sensor} is missing (NaN)")
        irregular = self.jitter * self.rate > SNAP
        if irregular and self.n_interpolated > MAX_QUIET_SHARE * self.n_samples:
            told.append(
                f"{self.n_interpolated / self.n_samples:.1%} of {sensor} is interpolated: its time "
                f"stamps are up to {self.jitter * 1e3:.2g} ms from a regular grid"
            )
        if self.n_doubled:
            told.append(f"{self.n_doubled} rows of {sensor} came twice and were taken once")
        drift = self.measured_rate / self.rate - 1
        if abs(drift) > MAX_QUIET_DRIFT:
            told.append(
                f"{sensor} has {self.measured_rate:.5g} Hz by its time stamps, not {self.rate:g} "
                f"Hz ({drift:+.2%}): the clocks drift apart, and the stamps were believed"
            )
        return told


@dataclass(frozen=True)
class FrameReport:
    """Say how a table became a recording.

    Parameters
    ----------
    start : float or numpy.datetime64 or None
        Time stamp of the recording's second 0: in seconds, whatever `time_unit` was, or, of
        dates, in UTC (or as naive as the column was); None without time stamps. What lies
        between it and a stamp of a belt is the second of the recording.
    ppg : SensorReport
        Of the PPG.
    acc : SensorReport or None
        Of the acceleration.
    """

    start: float | np.datetime64 | None
    ppg: SensorReport
    acc: SensorReport | None

    def faults(self) -> list[str]:
        """List what a user should know, in words.

        Returns
        -------
        list of str
            Empty if nothing is worth a warning.
        """
        return self.ppg.faults("ppg") + ([] if self.acc is None else self.acc.faults("acc"))


def read_frame(
    frame: Any,
    *,
    ppg: str = "ppg",
    acc: Sequence[str] | None = ("acc_x", "acc_y", "acc_z"),
    time: Any = "time",
    acc_frame: Any = None,
    acc_time: Any = None,
    time_unit: str = "s",
    acc_unit: str | float = "g",
    ppg_rate: float | None = None,
    acc_rate: float | None = None,
    max_gap: float | None = None,
    **fields: Any,
) -> tuple[Recording, FrameReport]:
    """Make a recording of a table, and report what was done for it.

    Parameters
    ----------
    frame : DataFrame or mapping or structured array
        One row per sample: pandas, a dict of arrays, or whatever gives for ``frame[name]`` a
        column that numpy can read; other objects by the dataframe interchange protocol or
        the Arrow C stream, as far as the installed pandas reads them.
    ppg : str, default="ppg"
        Column of the PPG.
    acc : sequence of 3 str or None, default=("acc_x", "acc_y", "acc_z")
        Columns of the acceleration; None for a device without.
    time : str, array-like or None, default="time"
        Column of the time stamps, or the stamps themselves (such as ``frame.index``): numbers
        in `time_unit`, or dates or durations as numpy, pandas and polars have them, in one
        time zone or none. Text has to be parsed first. None for rows at constant rates.
    acc_frame : as `frame`, default=None
        Table of the acceleration; None if it is in `frame`.
    acc_time : as `time`, default=None
        Time stamps of `acc_frame`, by the same clock; None for the column named by `time`.
    time_unit : {"s", "ms", "us", "ns"}, default="s"
        Unit of time stamps that are numbers.
    acc_unit : {"g", "mg", "m/s^2"} or float, default="g"
        Unit of the acceleration; a number tells the counts per g.
    ppg_rate, acc_rate : float, default=None
        Rates in Hz. With time stamps they may be left out: measured by them. Without,
        `ppg_rate` is wanted, and `acc_rate` too with an `acc_frame`.
    max_gap : float, default=None
        Longest time in seconds between two samples that is interpolated; None for 1.5
        samples, so that no lost sample is made up.
    **fields
        Further fields of `Recording`, such as `subject` and `name`.

    Returns
    -------
    recording : Recording
        Its second 0 is the first sample of the PPG.
    report : FrameReport
        Rates, interpolated, missing and doubled samples, and the time stamp of second 0.

    Raises
    ------
    ValueError
        If a column is missing or not numeric, a unit is unknown, or time stamps say no
        one rate: because of another unit, of stamps of packets, of two samples with one
        stamp, or of a clock that was set back.
    TypeError
        If there are no columns, or they are text.
    ImportError
        If only the interchange protocol gives the columns and pandas is not installed.

    Warns
    -----
    RepairedDataWarning
        If more than 1 % of a signal is missing or interpolated because its stamps are
        irregular, rows came twice, a rate differs from that of the stamps by more than
        0.1 %, or the acceleration is far shorter than gravity. Of one that is far longer,
        such as m/s^2 taken for g, `Recording` warns (``UserWarning``).

    Notes
    -----
    *Rows.* Each sensor has the rows in which its columns are not NaN, so that both may lie in
    one table at rates of their own. Rows are sorted by time. Rows with the same stamp and
    the same values count once.

    *Rate.* By least squares over all stamps, lost samples counted, rounded to the fewest
    decimals that put no stamp off by more than a hundredth of a sample.

    *Grid.* If 95 % of the stamps are within a tenth of a sample of a regular grid, grid points
    that near to a row take its values as they are. Others between two rows not more than
    `max_gap` apart are interpolated linearly. The first and the last row are held for less
    than a sample. Anything else is missing: NaN.

    *Both sensors.* Second 0 is the first PPG sample for both. Acceleration outside the time of
    the PPG is left out; where it starts later, or ends more than a second earlier, it is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.frames import read_frame
    >>> seconds = np.arange(0, 20, 1 / 64)
    >>> table = {"time": 1000 * seconds, "ppg": np.sin(8 * seconds)}
    >>> recording, report = read_frame(table, acc=None, time_unit="ms", subject="S1")
    >>> recording
    Recording('S1': 20.0 s, PPG 64 Hz, no acceleration, no labels)
    >>> report.ppg.n_missing, report.start
    (0, 0.0)
    """
    _check_parameters(time_unit, acc_unit, max_gap, acc)
    names = [] if acc is None else list(acc)
    if acc_frame is not None and acc is None:
        raise ValueError(f"{WHO}: acc must name the columns of acc_frame, got None")
    ppg_stamps = None if time is None else stamps_of(WHO, frame, time)
    ppg_values = numbers(WHO, frame, [ppg], mend="name it with ppg=")
    acc_stamps, acc_values = ppg_stamps, None
    if names:
        table = frame if acc_frame is None else acc_frame
        acc_values = numbers(WHO, table, names, mend=ACC_MEND)
        if acc_frame is not None or acc_time is not None:
            acc_stamps = _acc_stamps(table, time, acc_time)
    if ppg_stamps is None:
        own = acc_frame is not None
        return _without_stamps(ppg_values, acc_values, ppg_rate, acc_rate, acc_unit, own, fields)
    unit = TIME_UNITS[time_unit]
    start, seconds = seconds_of(WHO, ppg_stamps, acc_stamps, ppg_values, unit)
    ppg_rows = sorted_rows(f"{WHO}: ppg", seconds[0], ppg_values)
    pace = pace_of(f"{WHO}: ppg", ppg_rows.stamps, _rate("ppg_rate", ppg_rate))
    n_samples = int(np.rint((ppg_rows.stamps[-1] - pace.phase) * pace.rate)) + 1
    signal, ppg_report = _on_grid(ppg_rows, pace, pace.phase, n_samples, max_gap)
    acc_signal, acc_report = None, None
    if acc_values is not None:
        acc_rows = sorted_rows(f"{WHO}: acc", seconds[1], acc_values / _counts_per_g(acc_unit))
        _check_overlap(acc_rows, ppg_rows)
        acc_pace = pace_of(f"{WHO}: acc", acc_rows.stamps, _rate("acc_rate", acc_rate))
        n_acc = _n_acc_samples(acc_rows.stamps - pace.phase, acc_pace.rate, n_samples / pace.rate)
        acc_signal, acc_report = _on_grid(acc_rows, acc_pace, pace.phase, n_acc, max_gap)
    at = start + (np.timedelta64(round(pace.phase * 1e9), "ns") if _is_date(start) else pace.phase)
    report = FrameReport(at, ppg_report, acc_report)
    return _recording(signal[:, 0], acc_signal, report, acc_unit, fields), report


def _acc_stamps(table: Any, time: Any, acc_time: Any) -> Any:
    if acc_time is None and time is not None and not isinstance(time, str):
        raise ValueError(f"{WHO}: acc_time must be given if time is no column, got None")
    if (time is None) != (acc_time is None) and time is None:
        raise ValueError(f"{WHO}: time and acc_time go together, got acc_time alone")
    if time is None:
        return None
    return stamps_of(WHO, table, time if acc_time is None else acc_time)


def _without_stamps(
    ppg: FloatArray,
    acc: FloatArray | None,
    ppg_rate: float | None,
    acc_rate: float | None,
    acc_unit: str | float,
    own_table: bool,
    fields: dict[str, Any],
) -> tuple[Recording, FrameReport]:
    """Take rows at constant rates as they are."""
    ppg_rate = _rate("ppg_rate", ppg_rate)
    if ppg_rate is None:
        raise ValueError(f"{WHO}: ppg_rate must be given without time stamps, got None")
    if acc is not None and not own_table:
        if acc_rate not in (None, ppg_rate):
            raise ValueError(
                f"{WHO}: expected ppg and acc of one table without time stamps at one rate, got "
                f"{ppg_rate:g} and {acc_rate:g} Hz: give time stamps, or an acc_frame"
            )
        acc_rate = ppg_rate
    rate = _rate("acc_rate", acc_rate)
    if acc is not None and rate is None:
        raise ValueError(f"{WHO}: acc_rate must be given with acc_frame, got None")
    if acc is not None:
        acc = acc / _counts_per_g(acc_unit)
    ppg_report = _plain_report(ppg, ppg_rate)
    acc_report = None if acc is None or rate is None else _plain_report(acc, rate)
    report = FrameReport(None, ppg_report, acc_report)
    return _recording(ppg[:, 0], acc, report, acc_unit, fields), report


def _plain_report(values: FloatArray, rate: float) -> SensorReport:
    n, n_missing = len(values), int(np.isnan(values).any(axis=1).sum())
    return SensorReport(rate, rate, n - n_missing, 0, n, 0, n_missing, 0.0)


def _on_grid(
    rows: Rows, pace: Pace, start: float, n_samples: int, max_gap: float | None
) -> tuple[FloatArray, SensorReport]:
    instants = start + np.arange(n_samples) / pace.rate
    placed = place(rows.stamps, rows.values, instants, pace, max_gap)
    report = SensorReport(
        rate=pace.rate,
        measured_rate=pace.measured_rate,
        n_rows=len(rows.values) + rows.n_doubled,
        n_doubled=rows.n_doubled,
        n_samples=n_samples,
        n_interpolated=placed.n_interpolated,
        n_missing=placed.n_missing,
        jitter=pace.jitter,
    )
    return placed.values, report


def _check_overlap(acc: Rows, ppg: Rows) -> None:
    held = (acc.stamps >= ppg.stamps[0]) & (acc.stamps <= ppg.stamps[-1])
    if not held.any():
        times = f"{acc.stamps[0]:.6g} to {acc.stamps[-1]:.6g} s" if len(acc.stamps) else "none"
        raise ValueError(
            f"{WHO}: expected acc at times of ppg, 0 to {ppg.stamps[-1]:.6g} s, got {times}: do "
            f"both have stamps of one clock?"
        )


def _n_acc_samples(stamps: FloatArray, rate: float, end: float) -> int:
    """Count the samples until the end of the PPG, or the own end if it is not much earlier."""
    until_end = int(np.ceil(end * rate - 1e-6))
    own = int(np.rint(stamps[-1] * rate)) + 1
    return min(until_end, own) if own / rate > end - MAX_END_DIFFERENCE else until_end


def _recording(
    ppg: FloatArray,
    acc: FloatArray | None,
    report: FrameReport,
    acc_unit: str | float,
    fields: dict[str, Any],
) -> Recording:
    rate = None if report.acc is None else report.acc.rate
    recording = Recording(ppg=ppg, ppg_rate=report.ppg.rate, acc=acc, acc_rate=rate, **fields)
    faults = report.faults()
    if acc is not None:
        median = float(np.nanmedian(np.linalg.norm(acc, axis=1)))
        if median < MIN_MEDIAN_ACC:
            faults.append(
                f"acc has a median length of {median:.2g} g, expected about 1 g at a wrist: is it "
                f"in {acc_unit!r}, and with gravity?"
            )
    if faults:
        warnings.warn(
            f"{WHO}: {recording.name!r}: {'; '.join(faults)}", RepairedDataWarning, stacklevel=3
        )
    return recording


def _is_date(value: object) -> bool:
    return isinstance(value, np.datetime64 | np.timedelta64)


def _rate(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not is_number(value):
        raise TypeError(f"{WHO}: {name} must be a number in Hz, got {value!r}")
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{WHO}: {name} must be > 0 Hz, got {value}")
    return float(value)


def _counts_per_g(acc_unit: str | float) -> float:
    return 1 / ACC_UNITS[acc_unit] if isinstance(acc_unit, str) else float(acc_unit)


def _check_parameters(
    time_unit: str, acc_unit: str | float, max_gap: float | None, acc: Sequence[str] | None
) -> None:
    if time_unit not in TIME_UNITS:
        raise ValueError(f"{WHO}: time_unit must be one of {list(TIME_UNITS)}, got {time_unit!r}")
    counts: Any = 1.0 if acc_unit in ACC_UNITS else acc_unit
    if not (is_number(counts) and np.isfinite(counts) and counts > 0):
        raise ValueError(
            f"{WHO}: acc_unit must be one of {list(ACC_UNITS)} or the counts per g, "
            f"got {acc_unit!r}"
        )
    if max_gap is not None and not (is_number(max_gap) and np.isfinite(max_gap) and max_gap > 0):
        raise ValueError(f"{WHO}: max_gap must be > 0 s, got {max_gap!r}")
    if isinstance(acc, str) or (acc is not None and len(list(acc)) != 3):
        raise ValueError(f"{WHO}: acc must name three columns, x, y and z, got {acc!r}")
