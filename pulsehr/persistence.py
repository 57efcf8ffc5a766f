"""What has to be trusted to read a fitted pipeline that was stored."""

#: What `skops.io.load(file, trusted=TRUSTED_TYPES)` has to trust to read a fitted pipeline of
#: pulsehr: beside these there are only arrays, numbers, texts and scikit-learn's own classes.
TRUSTED_TYPES = [
    "pulsehr.baselines.MotionAwareSpectralRegressor",
    "pulsehr.baselines.SpectralPeakRegressor",
    "pulsehr.model_selection.FitWithoutValidation",
    "pulsehr.model_selection.RestOfBlock",
    "pulsehr.quantized.QuantizedStudentRegressor",
    "pulsehr.student.DistilledStudentRegressor",
    "pulsehr.teacher.PulseTeacherRegressor",
    "pulsehr.tracking.HeartRateTracker",
    "pulsehr.windows.PPGWindower",
]
