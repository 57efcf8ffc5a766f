"""What skl2onnx looks for on an estimator, without importing skl2onnx."""

from __future__ import annotations

from typing import Any


def onnx_parser(self: Any) -> Any:
    """Return what tells skl2onnx the outputs."""
    from pulsehr import _onnx_hooks

    return _onnx_hooks.parser_of(self)


def onnx_shape_calculator(self: Any) -> Any:
    """Return what tells skl2onnx the shape of the output."""
    from pulsehr import _onnx_hooks

    return _onnx_hooks.calculate_shapes


def onnx_converter(self: Any) -> Any:
    """Return what writes the ONNX nodes, see `pulsehr.to_onnx`."""
    from pulsehr import _onnx_hooks

    return _onnx_hooks.convert
