"""Search over window, teacher and distillation by subject, and store the best as plain data.

    python examples/model_selection.py

Synthetic recordings and few epochs: it shows how, not how well. With metadata routing the subjects
reach the splitter, the student and its teacher; each teacher is fitted once per fold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import sklearn
import skops.io
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.datasets import make_recordings
from pulsehr.metrics import SCORERS
from pulsehr.persistence import TRUSTED_TYPES

#: A quarter of the subjects validates: few as they are, that is more than one.
BRIEF = {"batch_size": 16, "lr": 2e-3, "validation_fraction": 0.25, "verbose": 0}


def main(n_subjects=8, duration=120, epochs=3):
    """Search, judge the search on unseen subjects, store and read back; tell if that agrees."""
    sklearn.set_config(enable_metadata_routing=True)
    data = make_recordings(n_subjects=n_subjects, duration=duration, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        student = DistilledStudentRegressor(
            teacher=PulseTeacherRegressor(max_epochs=epochs, dropout=0.1, **BRIEF),
            max_epochs=epochs,
            memory=folder,
            random_state=0,
            **BRIEF,
        )
        search = GridSearchCV(
            make_pipeline(PPGWindower(padding="reflect"), student),
            {
                "ppgwindower__window": [6.0, 8.0],
                "distilledstudentregressor__teacher__filters": [(8, 12, 16), (16, 24, 32)],
                "distilledstudentregressor__label_weight": [0.5, 1.0],
            },
            cv=GroupKFold(2),
            scoring=SCORERS,
            refit="neg_subject_mean_absolute_error",
        )
        search.fit(data.X, data.y, groups=data.groups)
        results = search.cv_results_
        print("label weight   filters        window   MAE    within 5 bpm")
        for parameters, error, share in zip(
            results["params"],
            -results["mean_test_neg_subject_mean_absolute_error"],
            results["mean_test_share_within_5_bpm"],
            strict=True,
        ):
            weight, filters, window = parameters.values()
            print(f"{weight:<14} {filters!s:<14} {window:<8} {error:<6.2f} {share:.2f}")

        outer = cross_validate(
            search,
            data.X,
            data.y,
            params={"groups": data.groups},
            cv=GroupKFold(2),
            scoring=SCORERS,
        )
        nested = -outer["test_neg_subject_mean_absolute_error"].mean()
        print(f"nested, on subjects that the search has not seen: {nested:.2f} bpm")

        best = search.best_estimator_
        file = Path(folder) / "best.skops"
        skops.io.dump(best, file)
        again = skops.io.load(file, trusted=TRUSTED_TYPES)
        same = (again.predict(data.X) == best.predict(data.X)).all()
        print(f"stored as {file.stat().st_size:,} bytes of plain data, predicts the same: {same}")
    return bool(same)


if __name__ == "__main__":
    main()
