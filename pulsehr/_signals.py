"""Whether samples can be used: numeric, finite or missing, of the right shape, not constant."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pulsehr._gaps import Runs, joined, runs_of
from pulsehr._stored import StoredSignal, stored

FloatArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Signal: TypeAlias = FloatArray | StoredSignal

#: Rounding beyond this share of what a signal varies by is told.
MAX_ROUNDING = 0.005

#: Samples that are checked at a time: bounds the memory for signals on disk.
BLOCK_SAMPLES = 1 << 18


def valid_signal(who: str, value: Any, ndim: int) -> tuple[Signal, Runs, NDArray[np.float32]]:
    """Return a valid signal, which stays on disk if it is there, and what was seen of it.

    Parameters
    ----------
    who : str
        Recording and field, for errors.
    value : array-like
        What a user passes.
    ndim : int
        1 for (n_samples,); 2 for (n_samples, 3) or (3, n_samples).

    Returns
    -------
    signal : ndarray or StoredSignal of shape (n_samples,) or (n_samples, 3), float32
        Read-only.
    missing : ndarray of int, shape (n_gaps, 2)
        Runs of samples that are NaN, on any axis.
    some : ndarray
        At most about 10,000 of the others, about evenly spaced.

    Raises
    ------
    ValueError
        If it is empty, constant, of another shape, infinite, or NaN throughout.
    TypeError
        If it is not numeric.
    """
    on_disk = stored(value, ndim)
    array: Any = on_disk
    if on_disk is None:
        array = _numbers(who, value, np.float32)
        if ndim == 2 and array.ndim == 2 and array.shape[0] == 3 != array.shape[1]:
            array = array.T
    else:
        _check_kind(who, value, on_disk.source)
    wanted = "(n_samples,)" if ndim == 1 else "(n_samples, 3)"
    if array.ndim != ndim or (ndim == 2 and array.shape[1] != 3):
        raise ValueError(f"{who} must have shape {wanted}, got {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{who} must not be empty")
    missing, some = _check_samples(who, array)
    if on_disk is None:
        _warn_of_rounding(who, value, array)
    return (array if on_disk is not None else read_only(array, value)), missing, some


def finite(who: str, value: Any) -> NDArray[np.float64]:
    """Return finite numbers as float64; ValueError or TypeError otherwise."""
    array: Any = _numbers(who, value, np.float64)
    missing = ~np.isfinite(array)
    if missing.any():
        raise ValueError(
            f"{who} must be finite, got {int(missing.sum())} NaN or infinite values, the first at "
            f"index {np.argwhere(missing)[0].tolist()}: cut them out or interpolate"
        )
    numbers: NDArray[np.float64] = array
    return numbers


def read_only(array: Any, original: Any) -> Any:
    """Return a read-only array that no caller can write through."""
    own = isinstance(original, (list, tuple)) or not np.may_share_memory(
        array, np.asarray(original)
    )
    if not own:
        array = array.copy()
    array.flags.writeable = False
    return array.view()


def _numbers(who: str, value: Any, dtype: type) -> FloatArray:
    """Convert to numbers; masked samples count as missing."""
    array = np.asarray(value)
    _check_kind(who, value, array)
    if np.ma.is_masked(value):
        array = np.ma.filled(value.astype(np.float64), np.nan)  # integers have no NaN
    with np.errstate(over="ignore"):
        numbers: FloatArray = array.astype(dtype, copy=False)
    if not np.ma.is_masked(value):
        return numbers
    return np.where(np.ma.getmaskarray(value), dtype(np.nan), numbers)


def _warn_of_rounding(who: str, value: Any, signal: Any) -> None:
    """Warn if float32 rounds away what varies of a signal with a large offset."""
    original = np.asarray(value)
    if np.can_cast(original.dtype, np.float32):
        return
    original = original.T if original.shape != signal.shape else original
    step = max(1, len(signal) // 10_000)
    kept = np.asarray(signal[::step], np.float64)
    lost = float(np.nanmax(np.abs(np.asarray(original[::step], np.float64) - kept)))
    spread = float(np.nanmin(np.ptp(np.nanquantile(kept, [0.05, 0.95], axis=0), axis=0)))
    if lost > MAX_ROUNDING * spread > 0:
        warnings.warn(
            f"{who} is kept as float32, which rounds its values by up to {lost:.3g} where 90 % of "
            f"them lie within {spread:.3g}: subtract its offset first",
            stacklevel=5,
        )


def _check_kind(who: str, value: Any, array: Any) -> None:
    if array.dtype.kind not in "fiu":
        unknown = array.dtype.kind == "O"
        kind = type(value).__name__ if unknown else f"values of type {array.dtype}"
        raise TypeError(f"{who} must be numeric, got {kind}")


def _check_samples(who: str, signal: Any) -> tuple[Runs, NDArray[np.float32]]:
    """Raise if samples are infinite or all the same; return where NaN are, and some others."""
    step = max(1, len(signal) // 10_000)
    lows, highs, some, runs = [], [], [], []
    n_infinite, first_infinite = 0, None
    for start in range(0, len(signal), BLOCK_SAMPLES):
        block = signal[start : start + BLOCK_SAMPLES]
        offset = -start % step
        if not np.isfinite(block).all():
            infinite = np.isinf(block)
            if infinite.any():
                n_infinite += int(infinite.sum())
                first = np.argwhere(infinite)[0].tolist()
                first_infinite = first_infinite or [start + first[0], *first[1:]]
            missing = np.isnan(block).reshape(len(block), -1).any(axis=1)
            runs.append(runs_of(missing, start))
            block, offset = block[~missing], 0
        if len(block):
            lows.append(block.min(axis=0))
            highs.append(block.max(axis=0))
            some.append(block[offset::step].copy())  # a view would keep its block
    if n_infinite:
        raise ValueError(
            f"{who} must be finite, or NaN where a sample is missing, got {n_infinite} infinite "
            f"values, the first at index {first_infinite}: set those to NaN whose value is unknown"
        )
    if not lows:
        raise ValueError(f"{who} holds no sample, all {len(signal)} are NaN: leave it out")
    constant = np.max(highs, axis=0) == np.min(lows, axis=0)
    if np.any(constant):
        where = "" if signal.ndim == 1 else f" axis {'xyz'[int(np.argmax(constant))]}"
        raise ValueError(f"{who}{where} is constant: is the sensor connected?")
    return joined(runs), np.concatenate(some)
