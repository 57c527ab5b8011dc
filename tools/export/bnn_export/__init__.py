"""From a trained network to files that `bnn-convert` reads.

    tensor_file    safetensors files, read and written without any package
    state_dict     checkpoints of PyTorch to safetensors
    network        modules of PyTorch to ONNX, and a check that both say the same
    golden         inputs and outputs by which `bnn-convert --verify` checks a conversion

PyTorch, NumPy, ONNX and onnxruntime are imported where they are used and nowhere else.
"""

from .errors import ExportError

__all__ = ["ExportError"]
__version__ = "0.1.0"
