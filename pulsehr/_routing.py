"""What an estimator gives to one inside it: whether it must be fitted, and with which metadata."""

from __future__ import annotations

import inspect
from typing import Any

from sklearn import get_config
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter


def is_fitted(estimator: Any) -> bool:
    """Tell whether an estimator is fitted, or frozen."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def metadata_router(owner: Any, name: str, *methods: str) -> MetadataRouter:
    """Return which metadata an estimator and the one inside it ask for.

    Parameters
    ----------
    owner : estimator
        The outer one, which takes metadata itself.
    name : str
        Parameter that holds the inner one, or None.
    *methods : str
        Methods of the outer one that call those of the same name.
    """
    router = MetadataRouter(owner=type(owner).__name__).add_self_request(owner)
    if getattr(owner, name) is not None:
        mapping = MethodMapping()
        for method in methods:
            mapping.add(caller=method, callee=method)
        router.add(**{name: getattr(owner, name)}, method_mapping=mapping)
    return router


def passed_on(owner: Any, name: str, method: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the inner estimator asks for or, without metadata routing, what it takes."""
    given = {key: values for key, values in metadata.items() if values is not None}
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(owner, method, **given)
        return dict(routed[name][method])
    return {key: v for key, v in given.items() if has_fit_parameter(getattr(owner, name), key)}


def predicts_std(estimator: Any) -> bool:
    """Tell whether a fitted estimator, or the last of a pipeline or a search, gives a std."""
    _, last = _opened(estimator)
    # a network that did not learn it, also one in integers, refuses
    learnt = getattr(last, "student_", last)
    return getattr(learnt, "std_scale_", 1.0) is not None and (
        "return_std" in inspect.signature(last.predict).parameters
    )


def predict_with_std(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Predict heart rates and their stds, which metadata routing would want to be requested."""
    before, last = _opened(estimator)
    for transformer in before:
        X = transformer.transform(X)
    bpm, std = last.predict(X, return_std=True)
    return bpm, std


def _opened(estimator: Any) -> tuple[list[Any], Any]:
    """Take apart frozen estimators, searches and pipelines: what transforms, and what predicts."""
    if isinstance(estimator, FrozenEstimator):
        return _opened(estimator.estimator)
    if hasattr(estimator, "best_estimator_"):
        return _opened(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        inner, last = _opened(estimator.steps[-1][1])
        return [*([estimator[:-1]] if len(estimator.steps) > 1 else []), *inner], last
    return [], estimator
