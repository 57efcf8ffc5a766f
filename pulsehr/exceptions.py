"""Warnings of pulsehr, by which users may choose what to do about them."""


class InterruptedFitWarning(UserWarning):
    """Ctrl-C ended a training early; the estimator holds the best weights so far."""


class MissingSamplesWarning(UserWarning):
    """Rows lie over gaps of their recordings: they are left out, or answered by NaN."""


class VersionWarning(UserWarning):
    """An estimator was stored by another version of pulsehr than the one that reads it."""


class RepairedDataWarning(UserWarning):
    """Data came with faults that were mended or left out, as the message says."""
