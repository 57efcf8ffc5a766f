"""The recipes that `benchmarks/accuracy.py` compares, by name.

The paper's recipes follow the command line (epochs, batch size); the new ones stand here whole, so
that the figures of a name stay those of one recipe.
"""

from __future__ import annotations

from typing import Any

from accuracy_folds import Configuration, Settings
from accuracy_peers import MiniRocketRegressor, NeuroKitRegressor
from accuracy_sources import ALL_CHANNELS, AS_SHIPPED, UNLABELLED
from numpy.typing import NDArray
from pretrained_recipes import STUDENT, TEACHER, WINDOW
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor

#: Band-pass (Hz) of the PPG before a search for its highest peak.
BANDPASS = (0.4, 4.0)


def ppg_alone(windows: NDArray[Any]) -> NDArray[Any]:
    """Return the first channel: the windows of a device without acceleration."""
    return windows[:, :1]


def paper_student(settings: Settings, **windower: Any) -> Pipeline:
    """Make the paper's student with the paper's training: L1 loss, Adam at a constant rate."""
    student = DistilledStudentRegressor(
        max_epochs=settings.epochs,
        batch_size=settings.batch_size,
        random_state=settings.seed,
        verbose=0,
    )
    return make_pipeline(PPGWindower(**windower), student)


def paper_teacher(settings: Settings, **windower: Any) -> Pipeline:
    """Make the paper's teacher with the paper's training."""
    teacher = PulseTeacherRegressor(
        max_epochs=settings.teacher_epochs,
        batch_size=settings.batch_size,
        random_state=settings.seed,
        verbose=0,
    )
    return make_pipeline(PPGWindower(**windower), teacher)


def new_student(settings: Settings, **changed: Any) -> Pipeline:
    """Make the new recipe's student without a teacher, or what other parameters make of it."""
    student = DistilledStudentRegressor(**{**STUDENT, "random_state": settings.seed, **changed})
    return make_pipeline(PPGWindower(**WINDOW), student)


def new_teacher(settings: Settings, **changed: Any) -> Pipeline:
    """Make the new recipe's teacher, or what other parameters make of it."""
    teacher = PulseTeacherRegressor(**{**TEACHER, "random_state": settings.seed, **changed})
    return make_pipeline(PPGWindower(**WINDOW), teacher)


def without_acceleration(pipe: Pipeline) -> Pipeline:
    """Let the last step of a pipeline see the PPG alone."""
    return make_pipeline(*pipe[:-1], FunctionTransformer(ppg_alone), pipe[-1])


def peak(**windower: Any) -> Pipeline:
    """Make the highest peak of the spectrum of the band-passed PPG."""
    windower = {"bandpass": BANDPASS, **windower}
    return make_pipeline(PPGWindower(**windower), SpectralPeakRegressor())


def rocket(settings: Settings, **windower: Any) -> Pipeline:
    """Make the generic time-series regressor."""
    return make_pipeline(PPGWindower(**windower), MiniRocketRegressor(random_state=settings.seed))


CONFIGURATIONS: dict[str, Configuration] = {
    "FFT peak": Configuration(lambda settings: peak()),
    "motion-aware peak": Configuration(
        lambda settings: make_pipeline(PPGWindower(), MotionAwareSpectralRegressor())
    ),
    "NeuroKit2 (offline)": Configuration(lambda settings: make_pipeline(NeuroKitRegressor())),
    "MiniRocket": Configuration(rocket),
    "MiniRocket, new windows": Configuration(lambda settings: rocket(settings, **WINDOW)),
    "paper teacher": Configuration(paper_teacher),
    "paper student": Configuration(paper_student),
    "paper student distilled": Configuration(paper_student, teacher="paper teacher"),
    "paper student, band-pass": Configuration(
        lambda settings: paper_student(settings, bandpass=BANDPASS)
    ),
    "paper student, channel": Configuration(
        lambda settings: paper_student(settings, normalize="channel")
    ),
    "paper student, PPG alone": Configuration(
        lambda settings: without_acceleration(paper_student(settings))
    ),
    "paper student, new recipe": Configuration(
        lambda settings: new_student(settings, network="paper")
    ),
    "paper teacher, new recipe": Configuration(
        lambda settings: new_teacher(settings, network="paper")
    ),
    "teacher": Configuration(new_teacher),
    "student": Configuration(new_student),
    "student distilled": Configuration(
        lambda settings: new_student(settings, relation="none"), teacher="teacher"
    ),
    "student distilled, distance+angle": Configuration(
        lambda settings: new_student(settings, relation="distance+angle"), teacher="teacher"
    ),
    "student distilled, feature": Configuration(
        lambda settings: new_student(settings, relation="feature"), teacher="teacher"
    ),
    "student distilled, unlabelled": Configuration(
        lambda settings: new_student(settings, relation="none"),
        teacher="teacher",
        sources=UNLABELLED,
    ),
    "student, as shipped": Configuration(new_student, sources=AS_SHIPPED),
    "student, all channels": Configuration(new_student, sources=ALL_CHANNELS),
    "paper student, all channels": Configuration(
        lambda settings: new_student(settings, network="paper"), sources=ALL_CHANNELS
    ),
    "student, PPG alone": Configuration(
        lambda settings: without_acceleration(new_student(settings))
    ),
    "teacher, PPG alone": Configuration(
        lambda settings: without_acceleration(new_teacher(settings))
    ),
}

#: What is better (or so it is hoped) than what: rows of the table of differences. Variants have
#: their name behind that of the configuration.
GAINS: list[tuple[str, str]] = [
    ("motion-aware peak", "FFT peak"),
    ("paper student distilled", "paper student"),
    ("paper student, new recipe", "paper student"),
    ("student", "paper student"),
    ("student", "paper teacher"),
    ("student", "paper student, new recipe"),
    ("student distilled", "student"),
    ("student distilled, distance+angle", "student"),
    ("student distilled, feature", "student"),
    ("student distilled, distance+angle", "student distilled"),
    ("student distilled, feature", "student distilled"),
    ("student distilled, unlabelled", "student"),
    ("student distilled, unlabelled", "student distilled"),
    ("student, as shipped", "student"),
    ("student, all channels", "student"),
    ("student, all channels", "paper student, all channels"),
    ("student distilled", "paper student distilled"),
    ("student distilled", "paper teacher"),
    ("teacher", "paper teacher"),
    ("teacher", "paper teacher, new recipe"),
    ("student", "student, PPG alone"),
    ("teacher", "teacher, PPG alone"),
    ("student distilled, int8", "student distilled"),
    ("student distilled, tracker clip", "student distilled"),
    ("student distilled, tracker Kalman", "student distilled"),
    ("student distilled, tracker belief", "student distilled"),
]
