"""The command line: what it writes, and errors in one line."""

import contextlib
import io
import unittest
from unittest import mock

from bnn_export import errors, tensor_file
from bnn_export.__main__ import main

from .support import FolderTest, needs
from .test_network import MODULE


def call(*arguments):
    """Exit code, standard output and standard error of a call."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
    return code, out.getvalue(), err.getvalue()


class Command(FolderTest):
    def test_help_and_usage(self):
        code, out, _ = call("--help")
        self.assertEqual(code, 0)
        for command in ["state-dict", "onnx", "golden"]:
            self.assertIn(command, out)
        self.assertEqual(call()[0], 2)
        self.assertEqual(call("onnx", "a:b", "-o", "x.onnx", "--input-shape", "3")[0], 2)

    def test_a_missing_package_is_named(self):
        with mock.patch.object(errors.importlib, "import_module", side_effect=ImportError("gone")):
            code, out, err = call("state-dict", "x.pth", "-o", self.folder / "x.safetensors")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("needs the package torch (pip install torch)", err)
        self.assertEqual(err.count("\n"), 1)

    @needs("torch", "onnx", "numpy")
    def test_from_a_module_to_a_golden_file(self):
        import numpy
        import torch

        source = self.folder / "command_net.py"
        source.write_text(MODULE)
        weights, model = self.folder / "w.pth", self.folder / "net.onnx"
        from bnn_export import network

        torch.save(network.build(f"{source}:Net").state_dict(), weights)
        code, out, err = call("onnx", f"{source}:Net", "--weights", weights, "-o", model,
                              "--input-shape", "1,3,8,8", "--opset", 13)
        self.assertEqual(code, 0, err)
        self.assertIn("8 of 8 rows", out)
        pixels = numpy.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=numpy.uint8)
        numpy.savez(self.folder / "data.npz", images=pixels, labels=numpy.arange(5))
        for number, origin in enumerate([f"{source}:Net", model]):
            path = self.folder / f"golden{number}.safetensors"
            code, out, err = call("golden", origin, "-o", path, "--images", self.folder / "data.npz",
                                  "--mean", "0.5", "--std", "0.25", "--count", 3)
            self.assertEqual(code, 0, err)
            self.assertIn("3 images", out)
        logits = [tensor_file.read(self.folder / f"golden{n}.safetensors")["logits"].array() for n in (0, 1)]
        numpy.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
