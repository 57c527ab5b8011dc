"""Modules of PyTorch to ONNX files that `bnn-convert` reads well."""

import dataclasses
import importlib
import importlib.util
import inspect
import pathlib
import sys

from . import state_dict
from .errors import ExportError, package

INPUT, OUTPUT = "input", "logits"
# Lowest operator set of each exporter, and the one that is taken unless told otherwise.
OPSETS = {False: (9, 17), True: (18, 18)}


@dataclasses.dataclass(frozen=True)
class Check:
    """How far the outputs of the file are from those of the module."""

    runtime: str
    rows: int
    largest: float
    tolerance: float
    # Rows that differ by more than the tolerance.
    beyond: int


def build(specification, arguments=()):
    """The module that `package.module:name` or `file.py:name` names: a module, or something that
    returns one when called with `arguments`."""
    place, separator, name = specification.rpartition(":")
    if not separator or not place:
        raise ExportError(f"{specification}: expected package.module:name or file.py:name")
    torch = package("torch", "exporting a network")
    try:
        if place.endswith(".py"):
            path = pathlib.Path(place)
            description = importlib.util.spec_from_file_location(path.stem, path)
            found = importlib.util.module_from_spec(description)
            # So that the file finds its neighbours, as it does when it is run.
            sys.path.insert(0, str(path.resolve().parent))
            sys.modules[path.stem] = found
            description.loader.exec_module(found)
        else:
            sys.path.insert(0, "")
            found = importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ExportError(f"{specification}: {error}") from error
    if inspect.isclass(found) or not isinstance(found, torch.nn.Module):
        found = found(*arguments)
    if not isinstance(found, torch.nn.Module):
        raise ExportError(f"{specification}: a {type(found).__name__}, expected a torch.nn.Module")
    return found


def load_weights(module, path, key=None, trusted=False):
    """Fills a module from a checkpoint; every tensor must find its place."""
    state = state_dict.renamed(state_dict.load(path, key, trusted))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise ExportError(f"{path}: does not fit the module: {state_dict.shorten(lines, 400)}") from error


def export(module, shape, path, opset=None, dynamo=False):
    """Writes a module, in evaluation mode and with its constants folded, for inputs of `shape` of
    which the first number, the batch, is left open."""
    torch = package("torch", "exporting a network")
    package("onnx", "writing ONNX")
    lowest, usual = OPSETS[dynamo]
    opset = usual if opset is None else opset
    if opset < lowest:
        raise ExportError(f"operator set {opset}: this exporter starts at {lowest}")
    module.eval()
    # A batch of one could be taken for a size that never changes.
    example = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0))
    if dynamo:
        package("onnxscript", "the exporter of torch.export")
        how = {"dynamo": True, "external_data": False, "optimize": True, "verbose": False,
               "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    else:
        how = {"do_constant_folding": True, "training": torch.onnx.TrainingMode.EVAL,
               "dynamic_axes": {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}}
        # Before this exporter was the only one, there was no way to ask for it.
        if "dynamo" in inspect.signature(torch.onnx.export).parameters:
            how["dynamo"] = False
    try:
        with torch.no_grad():
            torch.onnx.export(module, (example,), str(path), opset_version=opset,
                              input_names=[INPUT], output_names=[OUTPUT], **how)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        other = "without" if dynamo else "with"
        raise ExportError(f"PyTorch cannot export the module: {first} (try {other} --dynamo)") from error


def check(module, shape, path, tolerance=1e-4, rows=8):
    """Compares the file with the module on random inputs, all at once and one by one. A row may miss
    the tolerance where a sign lies within rounding of zero; the caller decides about that."""
    torch = package("torch", "checking a network")
    numpy = package("numpy", "checking a network")
    runtime, run = onnx_runtime(path)
    inputs = torch.randn((rows, *shape[1:]), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module.eval()(inputs)
    if not isinstance(expected, torch.Tensor):
        raise ExportError("the module has several outputs; only one can be compared")
    expected = expected.numpy()
    inputs = inputs.numpy()
    largest, beyond = 0.0, set()
    single = numpy.concatenate([run(inputs[row : row + 1]) for row in range(rows)])
    for found in (run(inputs), single):
        if found.shape != expected.shape:
            raise ExportError(f"{path}: output of shape {found.shape}, expected {expected.shape}")
        for row in range(rows):
            difference = float(numpy.abs(found[row] - expected[row]).max())
            scale = float(numpy.abs(expected[row]).max())
            largest = max(largest, difference)
            # Written so that NaN is beyond any tolerance.
            if not difference <= tolerance * scale:
                beyond.add(row)
    return Check(runtime, rows, largest, tolerance, len(beyond))


def onnx_runtime(path):
    """The name of something that runs ONNX files, and a function from an input to the first output."""
    try:
        import onnxruntime
    except ImportError:
        onnx = package("onnx", "checking an ONNX file")
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))
        name = onnx.load(str(path), load_external_data=False).graph.input[0].name
        return "the reference of onnx", lambda inputs: evaluator.run(None, {name: inputs})[0]
    options = onnxruntime.SessionOptions()
    # Fused operators round differently.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{path}: onnxruntime cannot read it: {first}") from error
    name = session.get_inputs()[0].name
    return "onnxruntime", lambda inputs: session.run(None, {name: inputs})[0]
