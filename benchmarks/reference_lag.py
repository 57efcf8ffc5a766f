"""How near `estimate_lag` comes to the lags that are known: BAMI by its beats, IEEE SPC by labels.

    python benchmarks/reference_lag.py FOLDER

FOLDER holds both downloads. BAMI's lags are one constant for the set and three exceptions (see
`load_bami`), found with the PPG at all times; single watches may differ from the constant. IEEE
SPC has none, and labels every two seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pulsehr.datasets import load_bami, load_ieee_spc
from pulsehr.datasets._matlab import read_arrays
from pulsehr.datasets.bami import PPG_LAG, PPG_LAG_OF_SUBJECT
from pulsehr.reference import estimate_lag


def main(folder):
    """Print known and estimated lag of every recording, and how far apart they are."""
    files = {path.stem: path for path in Path(folder).rglob("Subject_*.mat")}
    bami = []
    for recording in load_bami(folder).recordings:
        stem = recording.name.removeprefix("bami_")
        log = read_arrays("reference_lag", files[stem], {"timeECG": None, "bpmECG": None})
        known = PPG_LAG_OF_SUBJECT.get(int(stem.removeprefix("Subject_")), PPG_LAG)
        estimate = estimate_lag(recording, log["timeECG"], rr=60 / log["bpmECG"])
        bami.append(_told(recording.name, known, estimate))
    spc = []
    for recording in load_ieee_spc(folder).recordings:
        middle = recording.heart_rate_times - 4
        spc.append(
            _told(recording.name, 0.0, estimate_lag(recording, middle, recording.heart_rate))
        )
    for name, away in (("BAMI", bami), ("IEEE SPC", spc)):
        away = np.abs(away)
        print(f"{name}: off by {np.median(away):.2f} s (median), at most {away.max():.2f} s")


def _told(name, known, estimate):
    low, high = estimate.interval
    print(
        f"{name:<28} known {known:+5.1f}  estimated {estimate.lag:+6.2f} [{low:+.2f}, {high:+.2f}]"
    )
    return estimate.lag - known


if __name__ == "__main__":
    main(sys.argv[1])
