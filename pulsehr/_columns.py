"""What a column of a table holds, numbers or time stamps, whichever library made the table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Names of columns that an error lists.
MAX_NAMES = 12


@dataclass(frozen=True)
class Stamps:
    """Hold time stamps as they came.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        float64, int64, datetime64[ns] or timedelta64[ns].
    zone : bool
        Whether dates know their time zone (and are UTC here).
    """

    values: NDArray[Any]
    zone: bool

    @property
    def kind(self) -> str:
        """Name what they are, for errors."""
        if self.values.dtype.kind == "M":
            return "dates with time zone" if self.zone else "dates without time zone"
        return "durations" if self.values.dtype.kind == "m" else "numbers"


def numbers(who: str, frame: Any, names: Sequence[str], *, mend: str = "") -> NDArray[np.float64]:
    """Return numeric columns of a table.

    Parameters
    ----------
    who : str
        Who asks, for errors.
    frame : DataFrame or mapping or structured array
        The table.
    names : sequence of str
        Its columns.
    mend : str, default=""
        What to do if one is not there, for its error.

    Returns
    -------
    ndarray of shape (n_rows, n_columns)
        NaN where a value is missing.

    Raises
    ------
    ValueError
        If a column is not there, or columns differ in length.
    TypeError
        If one is not numeric, or there are no columns.
    """
    table = _table(who, frame, names)
    columns = [_numeric(who, name, _column(who, table, name, mend)) for name in names]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{n!r} {len(c)}" for n, c in zip(names, columns, strict=True))
        raise ValueError(f"{who}: expected columns of equal length, got {lengths}")
    return np.stack(columns, axis=1)


def stamps_of(who: str, frame: Any, time: Any) -> Stamps:
    """Return time stamps as numbers, dates or durations.

    Parameters
    ----------
    who : str
        Who asks, for errors.
    frame : DataFrame or mapping or structured array
        The table.
    time : str or array-like of shape (n_rows,)
        Its column of time stamps, or the stamps themselves.

    Returns
    -------
    Stamps
        As they came.

    Raises
    ------
    ValueError
        If the column is not there.
    TypeError
        If it is text, or anything else that is no time.
    """
    if isinstance(time, str):
        names = _names(_table(who, frame, [time]))
        if time not in names:
            raise ValueError(
                f"{who}: expected time stamps in a column {time!r}, got columns {_listed(names)}: "
                f"name it with time=, or take time=None and ppg_rate for rows at a constant rate"
            )
    column = _column(who, _table(who, frame, [time]), time) if isinstance(time, str) else time
    zone = getattr(getattr(column, "dtype", None), "tz", None) is not None
    values = np.asarray(column, dtype="datetime64[ns]") if zone else _array(column)
    if values.ndim != 1:
        raise ValueError(f"{who}: time must be one column, got shape {values.shape}")
    zone = zone or getattr(getattr(column, "dtype", None), "time_zone", None) is not None
    if values.dtype.kind in "Mm":
        return Stamps(values.astype(f"{values.dtype.kind}8[ns]"), zone)
    if values.dtype.kind not in "fiu":
        example = f" such as {values[0]!r}" if len(values) else ""
        raise TypeError(
            f"{who}: time must be numbers, dates or durations, got {values.dtype}{example}: parse "
            f"text first, with pandas.to_datetime(..., format=..., utc=True)"
        )
    return Stamps(values.astype(np.float64 if values.dtype.kind == "f" else np.int64), zone)


def seconds_of(
    who: str, ppg: Stamps, acc: Stamps | None, values: NDArray[np.float64], unit: float
) -> tuple[Any, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the first time stamp of the PPG, and all stamps in seconds after it.

    Parameters
    ----------
    who : str
        Who asks, for errors.
    ppg, acc : Stamps
        Of the rows of each; None for no acceleration.
    values : ndarray of shape (n_rows, 1)
        The PPG: rows without do not count.
    unit : float
        Seconds per unit of stamps that are numbers.

    Returns
    -------
    start : float, numpy.datetime64 or numpy.timedelta64
        In seconds if it is a number.
    seconds : tuple of 2 ndarray of shape (n_rows,)
        Of PPG and acceleration, NaN for a missing stamp.

    Raises
    ------
    ValueError
        If lengths or kinds differ, or no row has PPG and stamp.
    """
    if len(ppg.values) != len(values):
        raise ValueError(
            f"{who}: expected a time stamp per row, got {len(ppg.values)} for {len(values)} rows"
        )
    acc = acc or ppg
    if acc.kind != ppg.kind:
        raise ValueError(f"{who}: expected time stamps of one kind, got {ppg.kind} and {acc.kind}")
    missing = np.isnat if ppg.values.dtype.kind in "Mm" else np.isnan
    usable = ppg.values[~np.isnan(values[:, 0]) & ~missing(ppg.values)]
    if len(usable) == 0:
        raise ValueError(f"{who}: expected rows with ppg and a time stamp, got none")
    first = usable.min()
    if ppg.values.dtype.kind in "Mm":
        unit = 1e-9
        return first, (_after(ppg.values, first, unit), _after(acc.values, first, unit))
    start = float(first) * unit
    return start, (_after(ppg.values, first, unit), _after(acc.values, first, unit))


def _after(values: NDArray[Any], first: Any, unit: float) -> NDArray[np.float64]:
    # whole numbers (nanoseconds since 1970) are subtracted before they lose digits as floats
    difference = values - first
    if difference.dtype.kind == "m":
        seconds = difference.astype(np.int64) * unit
        return np.where(np.isnat(difference), np.nan, seconds)
    return difference.astype(np.float64) * unit


def _table(who: str, frame: Any, names: Sequence[str]) -> Any:
    """Return something with columns by name."""
    if hasattr(frame, "__getitem__") and not isinstance(frame, (str, bytes, list, tuple)):
        return frame
    if not (hasattr(frame, "__dataframe__") or hasattr(frame, "__arrow_c_stream__")):
        raise TypeError(
            f"{who}: expected a table with the columns {list(names)}, got {type(frame).__name__}"
        )
    try:
        from pandas.api.interchange import from_dataframe
    except ImportError as error:
        raise ImportError(
            f"{who}: reading a {type(frame).__name__} needs pandas: pip install 'pulsehr[data]'"
        ) from error
    with warnings.catch_warnings():
        # pandas 3 reads Arrow streams first, and says that it will drop the older protocol in 4
        warnings.simplefilter("ignore")
        try:
            return from_dataframe(frame)
        except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
            raise TypeError(
                f"{who}: expected a {type(frame).__name__} that pandas can read (an Arrow stream "
                f"needs pyarrow), got {type(error).__name__}: {error}: make a dict of its columns"
            ) from error


def _names(table: Any) -> list[str]:
    """List the columns: of pyarrow, structured arrays, mappings and pandas, and polars."""
    if isinstance(table, np.ndarray):
        return list(table.dtype.names or ())
    if hasattr(table, "column_names"):
        return list(table.column_names)
    return list(table.keys() if hasattr(table, "keys") else getattr(table, "columns", ()))


def _listed(names: list[str]) -> str:
    return str(names[:MAX_NAMES])[:-1] + (", ...]" if len(names) > MAX_NAMES else "]")


def _column(who: str, table: Any, name: str, mend: str = "") -> Any:
    names = _names(table)
    if name not in names:
        advice = f": {mend}" if mend else ""
        raise ValueError(f"{who}: expected a column {name!r}, got {_listed(names)}{advice}")
    return table[name]


def _array(column: Any) -> NDArray[Any]:
    if np.ma.is_masked(column):
        return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)


def _numeric(who: str, name: str, column: Any) -> NDArray[np.float64]:
    array = _array(column)
    if array.dtype.kind == "O" and type(column).__module__.partition(".")[0] == "pandas":
        from pandas.api.types import is_numeric_dtype

        if is_numeric_dtype(column):  # with pandas.NA for what is missing
            array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if array.dtype.kind not in "fiu":
        example = f" such as {array.flat[0]!r}" if array.size else ""
        raise TypeError(
            f"{who}: column {name!r} must be numeric, got {array.dtype}{example}: "
            f"pandas.to_numeric finds what is no number"
        )
    if array.ndim != 1:
        raise ValueError(f"{who}: expected one column {name!r}, got shape {array.shape}")
    return array.astype(np.float64)
