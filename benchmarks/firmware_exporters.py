"""Exporters of networks to C for microcontrollers, pulsehr and others, each as one function.

`make peers` fetches the others into build/peers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from firmware_networks import N_RUN, Network
from numpy.typing import NDArray
from torch import nn

from pulsehr.firmware.cmsis_nn import find_cmsis_nn
from pulsehr.firmware.integer import quantize_windows, run
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.firmware.quantization import BPM_STEPS

PEERS = Path(__file__).resolve().parents[1] / "build" / "peers"


class CannotExportError(Exception):
    """The exporter does not take the network, or the core; the message says why."""


@dataclass(frozen=True)
class Export:
    """C of a network.

    Parameters
    ----------
    files : dict of str to str
        Name and text of each file.
    infer : str
        C of ``int32_t infer(const void *window)``, with the memory that the network needs.
    windows : ndarray
        What `infer` takes, (n_windows, ...).
    expected : ndarray of int
        What `infer` returns in Python.
    tolerance : int, default=0
        By how much it may differ.
    options : sequence of str, default=()
        For the compiler.
    include_dirs, sources : sequence of Path, default=()
        Of a library.
    """

    files: dict[str, str]
    infer: str
    windows: NDArray[Any]
    expected: NDArray[Any]
    tolerance: int = 0
    options: Sequence[str] = ()
    include_dirs: Sequence[Path] = field(default=())
    sources: Sequence[Path] = field(default=())


def pulsehr_c(network: Network, core: str, target: str, macro: str | None = None) -> Export:
    """Export by this project, with a macro that chooses other kernels."""
    model = MicrocontrollerModel(network.graph, target=target)
    windows = quantize_windows(network.windows[:N_RUN], network.graph.input_format)
    infer = """
#include "pulsehr.h"
int32_t infer(const void *window)
{
    static _Alignas(16) uint8_t arena[PULSEHR_ARENA_BYTES];
    int32_t bpm_q8 = -1;
    return pulsehr_predict(window, arena, &bpm_q8) == PULSEHR_OK ? bpm_q8 : -1;
}
"""
    libraries: dict[str, Sequence[Path]] = {}
    if target == "cmsis-nn":
        vendored = PEERS / "bakenn" / "backend" / "cmsis_nn" / "vendor" / "cmsis_nn"
        os.environ.setdefault("CMSIS_NN_DIR", str(vendored))
        try:
            found = find_cmsis_nn()
        except RuntimeError as error:
            raise CannotExportError(f"no CMSIS-NN: run 'make peers' ({error})") from error
        libraries = {"include_dirs": found.include_dirs, "sources": found.sources}
    return Export(
        model.sources,
        infer,
        windows,
        run(network.graph, windows),
        options=() if macro is None else (f"-D{model.prefix.upper()}_{macro}",),
        **libraries,
    )


def bakenn_c(
    network: Network,
    core: str,
    folder: Path,
    policy: str,
    cmsis_nn: bool = False,
    one_dimensional: bool = False,
) -> Export:
    """Export by bakenn, after calibration on the same windows."""
    bakenn = _peer("bakenn")
    place = folder / f"bakenn-{network.input_shape[0]}-{policy}-{one_dimensional}"
    compiled = bakenn.compile(
        _bakenn_graph(network, one_dimensional),
        place,
        backend_options=bakenn.CBackendOptions(
            kernel_policy=bakenn.KernelPolicy[policy],
            enable_cmsis_nn=cmsis_nn,
            # the only Arm core with DSP instructions that it knows
            target=bakenn.CORTEX_M4 if cmsis_nn else bakenn.PORTABLE_32,
        ),
    )
    # it lays tensors out as (height, width, channels), or (width, channels)
    floats = network.inputs[:N_RUN].permute(0, 2, 3, 1).contiguous().numpy()
    if one_dimensional:
        floats = floats[:, 0]
    windows = [bakenn.quantize_input(compiled.plan, window[None]) for window in floats]
    expected = [bakenn.run_reference(compiled.plan, window).item() for window in windows]
    (header,) = (p for p in place.glob("bknn_*.h") if not re.search("_(weights|kernels)", p.name))
    name = header.stem
    infer = f"""
#include "{name}.h"
int32_t infer(const void *window)
{{
    static _Alignas({name.upper()}_ARENA_ALIGNMENT) uint8_t arena[{name.upper()}_ARENA_SIZE];
    int8_t heart_rate;
    {name}_infer(arena, window, &heart_rate);
    return heart_rate;
}}
"""
    listed = (place / "bakenn_sources.cmake").read_text(encoding="utf-8")
    defined = re.search(r"COMPILE_DEFINITIONS([^)]*)\)", listed)
    return Export(
        {path.name: path.read_text(encoding="utf-8") for path in place.glob("*.[ch]")},
        infer,
        np.concatenate(windows),
        np.array(expected),
        options=[f"-D{name}" for name in (defined[1].split() if defined else ())],
        include_dirs=[place / "third_party" / n / "Include" for n in ("cmsis_nn", "cmsis_core")],
        sources=sorted(place.glob("third_party/**/*.c")),
    )


def emx_c(
    network: Network, core: str, folder: Path, integers: bool, options: Sequence[str] = ()
) -> Export:
    """Export by emx-onnx-cgen, from ONNX in float32 or with int8 by QuantizeLinear."""
    _peer("emx_onnx_cgen")
    import onnx

    place = folder / f"emx-{network.input_shape[0]}-{integers}-{'-'.join(options)}"
    place.mkdir(exist_ok=True)
    model = _integer_onnx(network) if integers else float_onnx(network)
    onnx.save(model, place / "network.onnx")
    command = [sys.executable, "-m", "emx_onnx_cgen", "compile", "network.onnx", "network.c"]
    command += ["--model-name", "network", "--large-weight-threshold", "0", *options]
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(PEERS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CannotExportError((done.stderr or done.stdout).strip().splitlines()[-1])
    text = (place / "network.c").read_text(encoding="utf-8")
    declaration = re.search(r"^void network\([^)]*\)", text, re.M)
    assert declaration is not None
    infer = f"""
#include <stdint.h>
{declaration[0]};
int32_t infer(const void *window)
{{
    float heart_rate[1][1];
    network(window, heart_rate);
    return (int32_t)({BPM_STEPS}.0f * heart_rate[0][0]);
}}
"""
    with torch.no_grad():
        floats = network.module(network.inputs[:N_RUN]).numpy().reshape(-1)
    return Export(
        {"network.c": text},
        infer,
        network.inputs[:N_RUN].numpy(),
        (floats * BPM_STEPS).astype(int),
        # float32: sums in another order; int8: the error of quantization too
        tolerance=4 * BPM_STEPS if integers else 2,
    )


def float_onnx(network: Network) -> Any:
    """Write a network as ONNX in float32."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, before = [], [], "input"
    for index, module in enumerate(network.module):
        name = f"{type(module).__name__.lower()}{index}"
        operator, attributes = _ONNX[type(module)](module)
        parameters = [f"{name}.{key}" for key, _ in module.named_parameters()]
        for key, values in module.named_parameters():
            tensors.append(numpy_helper.from_array(values.detach().numpy(), f"{name}.{key}"))
        nodes.append(helper.make_node(operator, [before, *parameters], [name], **attributes))
        before = name
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *network.input_shape])],
        [helper.make_tensor_value_info(before, TensorProto.FLOAT, [1, 1])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


#: Operator and attributes of ONNX for a module.
_ONNX: dict[type[nn.Module], Callable[[Any], tuple[str, dict[str, Any]]]] = {
    nn.Conv2d: lambda m: (
        "Conv",
        {"dilations": list(m.dilation), "pads": list(m.padding) * 2},
    ),
    nn.ReLU: lambda m: ("Relu", {}),
    nn.AvgPool2d: lambda m: (
        "AveragePool",
        {"kernel_shape": list(m.kernel_size), "strides": list(m.kernel_size)},
    ),
    nn.Flatten: lambda m: ("Flatten", {}),
    nn.Linear: lambda m: ("Gemm", {"transB": 1}),
}


def _integer_onnx(network: Network) -> Any:
    """Write the integers of pulsehr as ONNX for one window."""
    from pulsehr.onnx_export import to_onnx

    model = to_onnx(MicrocontrollerModel(network.graph), exact=False)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model


@cache
def _bakenn_graph(network: Network, one_dimensional: bool) -> Any:
    """Capture a network and quantize it; the slow part of bakenn."""
    bakenn = _peer("bakenn")
    from bakenn.frontends import capture_torch_export

    module, inputs = network.module, [window[None] for window in network.inputs]
    if one_dimensional:
        if network.input_shape[1] != 1:
            raise CannotExportError("the network has rows, Conv1d has none")
        module, inputs = _flattened(module), [window[:, :, 0] for window in inputs]
    try:
        return bakenn.quantize_float_graph(capture_torch_export(module, inputs[0]), inputs)
    except bakenn.BakeNNError as error:
        raise CannotExportError(f"refused: {error}") from error


def _flattened(module: nn.Sequential) -> nn.Sequential:
    """Write a network with rows of height 1 in Conv1d and AvgPool1d."""
    parts: list[nn.Module] = []
    for part in module:
        if isinstance(part, nn.Conv2d):
            one = nn.Conv1d(
                part.in_channels,
                part.out_channels,
                part.kernel_size[1],
                dilation=part.dilation[1],
                padding=part.padding[1],
            )
            one.load_state_dict({"weight": part.weight.squeeze(2), "bias": part.bias})
            parts.append(one)
        elif isinstance(part, nn.AvgPool2d):
            parts.append(nn.AvgPool1d(part.kernel_size[1]))
        else:
            parts.append(part)
    return nn.Sequential(*parts).eval()


def _peer(name: str) -> Any:
    """Import a package of build/peers."""
    if not (PEERS / name).is_dir():
        raise CannotExportError("not installed: run 'make peers'")
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    return __import__(name)


def exporters(folder: Path) -> dict[str, tuple[Callable[[Network, str], Export], str]]:
    """Return exporters, with the optimisation of the compiler, by the words of the table."""
    bakenn = partial(bakenn_c, folder=folder)
    emx = partial(emx_c, folder=folder)
    return {
        "pulsehr, portable": (partial(pulsehr_c, target="portable"), "-O2"),
        "pulsehr, portable, no DSP": (
            partial(pulsehr_c, target="portable", macro="NO_DSP"),
            "-O2",
        ),
        "pulsehr, CMSIS-NN": (partial(pulsehr_c, target="cmsis-nn"), "-O2"),
        "pulsehr, CMSIS-NN on every core": (
            partial(pulsehr_c, target="cmsis-nn", macro="CMSIS_NN=2"),
            "-O2",
        ),
        "bakenn, portable": (partial(bakenn, policy="PORTABLE"), "-O2"),
        "bakenn, portable, Conv1d": (
            partial(bakenn, policy="PORTABLE", one_dimensional=True),
            "-O2",
        ),
        "bakenn, CMSIS-NN": (partial(bakenn, policy="STATIC_PRIORITY", cmsis_nn=True), "-O2"),
        "emx, float32": (partial(emx, integers=False), "-O2"),
        "emx, float32, -Ofast": (partial(emx, integers=False), "-Ofast"),
        "emx, float32, no heap": (
            partial(emx, integers=False, options=("--large-temp-threshold", "0")),
            "-O2",
        ),
        "emx, int8 of pulsehr's ONNX": (partial(emx, integers=True), "-O2"),
    }
