"""Modules are exported so that the file says what the module says, and a wrong file is found out."""

import unittest

from bnn_export import network
from bnn_export.errors import ExportError

from .support import FolderTest, needs

MODULE = '''
import torch


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Net(torch.nn.Module):
    def __init__(self, width="4"):
        super().__init__()
        torch.manual_seed(3)
        self.stem = torch.nn.Conv2d(3, int(width), 3)
        self.norm = torch.nn.BatchNorm2d(int(width))
        self.weight = torch.nn.Parameter(torch.randn(5, int(width), 3, 3))

    def forward(self, x):
        x = Sign.apply(self.norm(self.stem(x)))
        return torch.nn.functional.conv2d(x, Sign.apply(self.weight)).mean((2, 3))
'''


@needs("torch", "onnx", "numpy")
class Network(FolderTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "small_net.py"
        self.source.write_text(MODULE)

    def test_both_exporters_say_what_the_module_says(self):
        import importlib.util

        module = network.build(f"{self.source}:Net")
        dynamo = [False] + [True] * (importlib.util.find_spec("onnxscript") is not None)
        for which in dynamo:
            path = self.folder / f"net{which}.onnx"
            network.export(module, (1, 3, 8, 8), path, dynamo=which)
            check = network.check(module, (1, 3, 8, 8), path)
            self.assertEqual((check.rows, check.beyond), (8, 0), check)
            self.assertFalse(path.with_suffix(".onnx.data").exists())
        self.assertFalse(module.training)

    def test_a_file_of_other_weights_is_found_out(self):
        import torch

        module = network.build(f"{self.source}:Net")
        path = self.folder / "net.onnx"
        network.export(module, (1, 3, 8, 8), path)
        with torch.no_grad():
            module.weight[0] *= -1
        self.assertEqual(network.check(module, (1, 3, 8, 8), path).beyond, 8)

    def test_weights_must_fit(self):
        import torch

        module = network.build(f"{self.source}:Net", ["6"])
        self.assertEqual(module.stem.out_channels, 6)
        path = self.folder / "four.pth"
        torch.save({"module." + name: value for name, value in module.state_dict().items()}, path)
        network.load_weights(module, path)
        with self.assertRaisesRegex(ExportError, "four.pth: does not fit the module"):
            network.load_weights(network.build(f"{self.source}:Net"), path)

    def test_what_is_no_module_is_refused(self):
        for wrong in ["Net", "no_such_package:Net", f"{self.source}:Other", f"{self.source}:torch.zeros",
                      f"{self.folder / 'none.py'}:Net"]:
            with self.assertRaises((ExportError, TypeError), msg=wrong):
                network.build(wrong)
        with self.assertRaisesRegex(ExportError, "starts at 18"):
            network.export(network.build(f"{self.source}:Net"), (1, 3, 8, 8), self.folder / "x", 17, True)


if __name__ == "__main__":
    unittest.main()
