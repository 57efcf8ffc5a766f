"""The constants and the state of the front end as C text."""

from __future__ import annotations

import math
import re

from pulsehr.firmware.c_files import fill, rename, with_note
from pulsehr.firmware.c_source import HeaderParts
from pulsehr.firmware.c_text import array, defines, integer_literal
from pulsehr.firmware.front import SLACK, FrontEnd
from pulsehr.firmware.front_filters import ACC_BITS_LESS, Sensor
from pulsehr.firmware.front_integer import CLIP_REACH
from pulsehr.firmware.front_kalman import MAX_STD_Q8, MAX_VARIANCE, REACH, START_VARIANCE, Kalman
from pulsehr.firmware.front_scaling import SPAN, Scaling
from pulsehr.tracking import CLIP_LENGTH

#: How the files end that are filled from templates, and the hand-written one.
TEMPLATES = {"front_tables.h": "_front_tables.h"}
CODE = {"pulsehr_front.c": "_front.c"}

#: What only the library of the host is compiled with.
STREAM = "front_stream.c"

#: C types of the state and their bytes; those of 4 first, so that no gap lies between them.
BYTES = {"uint32_t": 4, "int32_t": 4, "filter": 40, "int16_t": 2}

Field = tuple[str, str, tuple[int, ...], str]


def front_files(front: FrontEnd, prefix: str) -> dict[str, str]:
    """Write the front end as portable C11, beside what `header_parts` adds to the public header.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    prefix : str
        Starts every symbol and file name.

    Returns
    -------
    dict of str to str
        Name and text of each file; the same constants give the same text.
    """
    upper = prefix.upper()
    fields = {
        "prefix": prefix,
        "upper": upper,
        "constants": _constants(front, upper),
        "tables": _tables(front, prefix),
    }
    made = {
        **{f"{prefix}{end}": fill(name, fields) for name, end in TEMPLATES.items()},
        **{f"{prefix}{end}": rename(name, prefix) for name, end in CODE.items()},
    }
    if front.kalman is not None:
        fields["constants"] = _kalman_constants(front.kalman, upper)
        made[f"{prefix}_kalman.h"] = fill("kalman.h", fields)
        made[f"{prefix}_kalman.c"] = rename("pulsehr_kalman.c", prefix)
    return {name: with_note(text, prefix) for name, text in made.items()}


def header_parts(front: FrontEnd, prefix: str, arena_bytes: int) -> HeaderParts:
    """Write what the front end adds to the public header.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    prefix : str
        Starts every symbol and file name.
    arena_bytes : int
        Working memory of the network, which is part of the state.

    Returns
    -------
    HeaderParts
        Usage, macros, status codes and functions.
    """
    upper = prefix.upper()
    with_acc = front.acc is not None
    pushes = _example_push(front, prefix)
    fields = {
        "prefix": prefix,
        "upper": upper,
        "example_push": pushes,
        "units": "\n".join(f" * {line}" for line in unit_lines(front)),
        "example_skip": re.sub(r"push(\w*)\(&state, [^)]*", r"skip\1(&state, n", pushes),
        "or_ahead": f"\n * {upper}_ERROR_AHEAD that stays means that the other sensor's are lost."
        if with_acc
        else "",
        "filter": "" if front.bandpass is None else _FILTER.replace("@prefix@", prefix),
        "state": _state(front, prefix, arena_bytes),
        "clause_acc": ", of the acceleration, or of both" if with_acc else "",
        "clause_ahead": f", {upper}_ERROR_AHEAD" if with_acc else "",
        "clause_far": _FAR.replace("@upper@", upper) if with_acc else "",
        "pushes": "\n".join(_pushes(front, prefix)),
        "skips": "\n".join(_skips(front, prefix)),
    }
    statuses = [
        (f"{upper}_READY", 1, f"a window is complete: call {prefix}_heart_rate"),
        (f"{upper}_ERROR_NOT_READY", "(-3)", "no window is complete that was not estimated"),
        (f"{upper}_ERROR_LATE", "(-4)", "samples of the window were overwritten; await the next"),
        (f"{upper}_ERROR_AHEAD", "(-5)", "the sample was refused: push the other sensor's first"),
        (f"{upper}_ERROR_NOT_STARTED", "(-6)", f"call {prefix}_init first"),
        (f"{upper}_ERROR_GAP", "(-7)", "samples of the window are missing"),
    ]
    return HeaderParts(
        usage=fill("usage_stream.h", fields).rstrip(),
        sizes=_macros(front, upper, arena_bytes),
        statuses=statuses,
        api=fill("stream.h", fields),
    )


def stream_functions(front: FrontEnd, prefix: str) -> list[str]:
    """List the functions that firmware with sensors calls."""
    pushes = [re.findall(r"int (\w+)\(", line)[0] for line in _pushes(front, prefix)]
    return [f"{prefix}_init", *pushes, f"{prefix}_heart_rate"]


def stream_file(prefix: str) -> str:
    """Write the C that pushes a whole recording, for the library of the host."""
    return fill(STREAM, {"prefix": prefix, "upper": prefix.upper()})


def state_bytes(front: FrontEnd, arena_bytes: int) -> int:
    """Compute the size of the state in C, which holds no pointers.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    arena_bytes : int
        Working memory of the network.

    Returns
    -------
    int
        Bytes, the same on every target with integers aligned to four bytes or less.
    """
    total = sum(field_bytes(field) for field in state_fields(front, arena_bytes))
    return -(-total // 4) * 4


def field_bytes(field: Field) -> int:
    """Compute the size of a field of the state."""
    ctype, _, shape, _ = field
    return BYTES[ctype] * math.prod(shape)


def state_fields(front: FrontEnd, arena_bytes: int) -> list[Field]:
    """List the fields of the state: C type, name, shape and comment."""
    signals: list[Field] = [
        ("uint32_t", "arena", (-(-arena_bytes // 4),), "of the network"),
        ("int32_t", "ppg", (front.n_ring,), "ring of the PPG"),
    ]
    narrow: list[Field] = []
    counters: list[Field] = [
        ("int32_t", "wait", (), "rows until the next window is complete"),
        ("int32_t", "age", (), "rows since the newest complete window"),
        ("int32_t", "ready", (), "1 until that window is estimated; 2 if it lies over a gap"),
        ("int32_t", "gap", (), "rows until windows no longer lie over a gap"),
        ("int32_t", "next", (), "position of the next row in the rings"),
    ]
    if front.acc is not None:
        counters += [
            ("int32_t", "lead", (), "rows of the PPG less rows of the acceleration"),
            ("uint32_t", "missing", (), "which rows of the one that is ahead are, a bit each"),
        ]
        narrow.append(("int16_t", "acc", (3, front.n_ring), "rings of the acceleration"))
    for name, sensor in (("ppg", front.ppg), ("acc", front.acc)):
        if sensor is None or sensor.factor == 1:
            continue
        counters.append(("int32_t", f"{name}_wait", (), "samples until the next row; < 0: anew"))
        if name == "ppg":
            signals.append(("int32_t", "ppg_past", (sensor.n_past,), "what its filter sees"))
        else:
            narrow.append(("int16_t", "acc_past", (sensor.n_past, 3), "what its filter sees"))
    if front.bandpass is not None:
        signals.append(("filter", "filters", (front.n_channels,), "band-pass of each signal"))
    if front.clip:
        signals.append(("int32_t", "clipped", (CLIP_LENGTH,), "the heart rates before"))
        counters += [
            ("int32_t", "n_clipped", (), "how many there are"),
            ("int32_t", "clipped_next", (), "position of the oldest"),
        ]
    if front.kalman is not None:
        counters += [
            ("int32_t", "mean", (), "heart rate, in 2^-16 bpm"),
            ("int32_t", "variance", (), "of it, in 2^-16 bpm^2"),
        ]
    if front.max_gap is not None:
        counters.append(("int32_t", "since", (), "rows since the window of the last heart rate"))
    return [*signals, *counters, *narrow]


def has_common_push(front: FrontEnd) -> bool:
    """Tell whether one function takes samples of all sensors, as they have the same rate."""
    return _factor(front.acc) in (0, front.ppg.factor)


def _factor(sensor: Sensor | None) -> int:
    return 0 if sensor is None else sensor.factor


def _pushes(front: FrontEnd, prefix: str) -> list[str]:
    """Declare the functions that take samples."""
    axes = "int16_t acc_x, int16_t acc_y, int16_t acc_z"
    state = f"{prefix}_state *state"
    lines = [f"int {prefix}_push_ppg({state}, int32_t ppg);"]
    if front.acc is not None:
        lines.append(f"int {prefix}_push_acc({state}, {axes});")
    if has_common_push(front):
        more = "" if front.acc is None else f", {axes}"
        lines.append(f"int {prefix}_push({state}, int32_t ppg{more});")
    return lines


def _skips(front: FrontEnd, prefix: str) -> list[str]:
    """Declare the functions that pass over missing samples."""
    names = re.findall(r"_push(\w*)\(", "".join(_pushes(front, prefix)))
    return [f"int {prefix}_skip{end}({prefix}_state *state, int32_t n);" for end in names]


def _example_push(front: FrontEnd, prefix: str) -> str:
    if not has_common_push(front):
        return f"{prefix}_push_ppg(&state, ppg) or {prefix}_push_acc(&state, x, y, z)"
    more = "" if front.acc is None else ", x, y, z"
    return f"{prefix}_push(&state, ppg{more})"


def unit_lines(front: FrontEnd) -> list[str]:
    """Say what samples are, a line for each sensor."""
    ppg = "any unit, as offset and positive gain drop out"
    if front.ppg.step is not None:
        ppg = f"counts of {front.ppg.step:.9g} units of the PPG of training"
    lines = [f"ppg: {front.ppg.rate:g} Hz, {ppg}"]
    if front.acc is not None:
        step = front.acc.step or 1.0
        lines.append(
            f"acc: {front.acc.rate:g} Hz, counts of {step:.9g} g ({1 / step:.9g} counts for 1 g)"
        )
        lines.append("the first samples of both were taken at the same time")
    seconds = front.stride / front.sampling_rate
    past = front.n_times / front.sampling_rate
    lines.append(
        f"heart rate: every {seconds:g} s, of the {past:g} s before ({front.n_times} samples of "
        f"each signal at {front.sampling_rate:g} Hz)"
    )
    if front.kalman is not None and front.max_gap is not None:
        gap = front.max_gap / front.sampling_rate
        lines.append(f"filtered over time, anew after {gap:g} s without one")
    return lines


def _macros(front: FrontEnd, upper: str, arena_bytes: int) -> list[tuple[str, object, str]]:
    size = state_bytes(front, arena_bytes)
    seconds = 1 / front.sampling_rate
    acc = []
    if front.acc is not None:
        acc = [(f"{upper}_ACC_PERIOD_US", round(1e6 / front.acc.rate), "between samples of it")]
    return [
        (f"{upper}_WINDOW_MS", round(1e3 * front.n_times * seconds), "a window, milliseconds"),
        (f"{upper}_STRIDE_MS", round(1e3 * front.stride * seconds), "from one to the next"),
        (f"{upper}_PPG_PERIOD_US", round(1e6 / front.ppg.rate), "between samples of the PPG"),
        *acc,
        (f"{upper}_PPG_FACTOR", front.ppg.factor, "samples of the PPG for each row"),
        (f"{upper}_ACC_FACTOR", _factor(front.acc), "the same of the acceleration; 0: none"),
        (f"{upper}_STRIDE", front.stride, "rows from one window to the next"),
        (f"{upper}_SLACK", SLACK, "rows that are kept beside a window"),
        (f"{upper}_STATE_BYTES", size, "bytes of the state"),
    ]


def _state(front: FrontEnd, prefix: str, arena_bytes: int) -> str:
    """Declare the fields of the state in columns."""
    rows = []
    for ctype, name, shape, comment in state_fields(front, arena_bytes):
        kind = f"{prefix}_filter" if ctype == "filter" else ctype
        rows.append((f"{kind} {name}{''.join(f'[{size}]' for size in shape)};", comment))
    width = max(len(declaration) for declaration, _ in rows)
    return "\n".join(f"    {declaration:<{width}} /* {comment} */" for declaration, comment in rows)


def _constants(front: FrontEnd, upper: str) -> str:
    rows: list[tuple[str, object, str]] = [
        (f"{upper}_NORMALIZE_WINDOW", int(front.normalize == "window"), "each window by itself"),
        (f"{upper}_BANDPASS", int(front.bandpass is not None), "all signals"),
        (f"{upper}_CLIP", int(front.clip), "heart rates near those before"),
        (f"{upper}_KALMAN", int(front.kalman is not None), "heart rates filtered"),
    ]
    for name, sensor in (("PPG", front.ppg), ("ACC", front.acc)):
        if sensor is not None and sensor.factor > 1:
            rows += [
                (f"{upper}_{name}_TAPS", len(sensor.taps), "half of a symmetric filter"),
                (f"{upper}_{name}_PAST", sensor.n_past, "samples that it sees"),
            ]
    if front.normalize == "window":
        rows += [
            (f"{upper}_SPREAD", f"{front.scalings[0].multiplier}u", "1 / input scale, a fraction"),
            (f"{upper}_SPAN", SPAN, "a reduced PPG spans less"),
            (f"{upper}_RESIDUE", front.residue, "a PPG that spans no more is flat"),
        ]
    if front.bandpass is not None:
        bits = front.bandpass.fraction_bits
        rows += [
            (f"{upper}_PPG_BITS", bits, "after the point of the filtered PPG"),
            (f"{upper}_ACC_BITS", bits + ACC_BITS_LESS, "while acceleration is filtered"),
        ]
    if front.clip:
        rows += [
            (f"{upper}_CLIP_LENGTH", CLIP_LENGTH, "heart rates of the mean"),
            (f"{upper}_CLIP_REACH", CLIP_REACH, "largest, so that sums fit 32 bits"),
        ]
    rows.append((f"{upper}_MAX_GAP", front.max_gap or 0, "rows, then anew; 0: never"))
    return defines(rows).rstrip()


def _kalman_constants(kalman: Kalman, upper: str) -> str:
    noise = "share of that, 2^-16" if kalman.by_std else "variance of a reading, 2^-16 bpm^2"
    rows: list[tuple[str, object, str]] = [
        (f"{upper}_KALMAN_REACH", REACH, "largest heart rate, 1/256 bpm"),
        (f"{upper}_KALMAN_DRIFT", kalman.drift, "of the variance each row, 2^-24 bpm^2"),
        (f"{upper}_KALMAN_BY_STD", int(kalman.by_std), "each reading has its own variance"),
        (f"{upper}_KALMAN_NOISE", kalman.noise, noise),
        (f"{upper}_KALMAN_GATE", kalman.gate, "1 / deviations that are far, squared, 2^-16"),
        (f"{upper}_KALMAN_MAX_STD", MAX_STD_Q8, "largest of a reading, 1/256 bpm"),
        (f"{upper}_KALMAN_START", START_VARIANCE, "variance at first, 2^-16 bpm^2"),
        (f"{upper}_KALMAN_MAX", MAX_VARIANCE, "largest variance, 2^-16 bpm^2"),
    ]
    return defines(rows).rstrip()


def _tables(front: FrontEnd, prefix: str) -> str:
    """Write filters and scalings."""
    text = ""
    for name, sensor in (("ppg", front.ppg), ("acc", front.acc)):
        if sensor is not None and sensor.factor > 1:
            text += "/* from the middle, in 2^-15 */\n"
            declaration = f"static const int16_t {prefix}_{name}_taps[{len(sensor.taps)}]"
            text += array(declaration, sensor.taps) + "\n"
    if front.bandpass is not None:
        rows = [
            "    {" + ", ".join(integer_literal(value) for value in section) + "},"
            for section in front.bandpass.sections.tolist()
        ]
        text += "/* b0, b1, b2, a1, a2 of each section, in 2^-29 */\n"
        text += (
            f"static const int32_t {prefix}_sections[2][5] = {{\n" + "\n".join(rows) + "\n};\n\n"
        )
    rows = [
        f"    {{INT64_C({scaling.offset}), {scaling.multiplier}, {scaling.shift}}},"
        for scaling in _table_of(front)
    ]
    declaration = f"static const {prefix}_sample_scaling {prefix}_scalings[{len(rows)}]"
    return text + f"{declaration} = {{\n" + "\n".join(rows) + "\n};\n"


def _table_of(front: FrontEnd) -> tuple[Scaling, ...]:
    """Return the scalings, without the multiplier that each window sets."""
    first = front.scalings[0]
    if front.normalize == "window":
        first = Scaling(0, first.shift, 0)
    return (first, *front.scalings[1:])


_FAR = "; @upper@_ERROR_AHEAD if a sensor is ahead by more than three rows"

_FILTER = """
/* What the band-pass remembers of a signal */
typedef struct {
    int32_t started;
    int32_t first;         /* its first sample, which counts as zero */
    int32_t signals[3][2]; /* before, between and after two sections: newest, one before */
    int32_t rest[2];       /* of the division in each section */
} @prefix@_filter;
"""
