"""Heart rate from wrist PPG and motion with scikit-learn estimators, exported to C."""

from pulsehr import (
    baselines,
    datasets,
    exceptions,
    metrics,
    persistence,
    plotting,
    quality,
    streaming,
    tracking,
)
from pulsehr._gaps import Gap
from pulsehr._version import __version__
from pulsehr.firmware.export import to_microcontroller
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.onnx_export import to_onnx
from pulsehr.pretrained import load_pretrained
from pulsehr.quantized import QuantizedStudentRegressor
from pulsehr.recordings import Reading, Recording
from pulsehr.streaming import HeartRateStream
from pulsehr.student import DistilledStudentRegressor
from pulsehr.teacher import PulseTeacherRegressor
from pulsehr.tracking import HeartRateTracker
from pulsehr.windows import PPGWindower

__all__ = [
    "DistilledStudentRegressor",
    "Gap",
    "HeartRateStream",
    "HeartRateTracker",
    "MicrocontrollerModel",
    "PPGWindower",
    "PulseTeacherRegressor",
    "QuantizedStudentRegressor",
    "Reading",
    "Recording",
    "__version__",
    "baselines",
    "datasets",
    "exceptions",
    "load_pretrained",
    "metrics",
    "persistence",
    "plotting",
    "quality",
    "streaming",
    "to_microcontroller",
    "to_onnx",
    "tracking",
]
