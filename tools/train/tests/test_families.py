"""The other families give the answers that the engine is held to, train, go on, and are packed."""

import contextlib
import importlib.util
import io
import pathlib
import shutil
import sys
import tempfile
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ROOT.parent.parent / "models" / "tests" / "small"
sys.path.insert(0, str(ROOT))
MISSING = [name for name in ("torch", "numpy", "safetensors", "PIL") if importlib.util.find_spec(name) is None]
if not MISSING:
    import numpy as np
    import torch
    from safetensors.numpy import load_file

    import families
    import network
    import pack
    import train
    import weights

    from .test_train import example


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)}")
class Families(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name, seed in (("train", 0), ("test", 2)):
            pictures, labels = example(seed)
            np.savez(self.folder / f"{name}.npz", x=pictures, y=labels)

    def train(self, output, family, *more, width=4, epochs=2):
        arguments = [str(self.folder / "train.npz"), "--test", str(self.folder / "test.npz"), "-o"]
        arguments += [str(self.folder / output), "--family", family, "--width", str(width), "--batch", "8"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train.main([*arguments, "--threads", "1", "--epochs", str(epochs), *more])
        return load_file(self.folder / output / "latent.safetensors")

    def test_answers_are_those_that_the_engine_is_held_to(self):
        networks = {
            "binary_dense_net": families.BinaryDenseNet((1, 2, 1, 1), 6, 10, (12, 9, 14), 10),
            "igp_resnet": families.IgpResNet(2, 3, (1, 1, 1, 1), 10),
            "duo_vgg_7": families.DuoVgg7(False, (5, 5, 7, 9, 11, 13), 10),
            "duo_vgg_7_coupled": families.DuoVgg7(True, (5, 5, 7, 9, 11, 13), 10),
        }
        for name, built in networks.items():
            weights.load_weights(built, SMALL / f"{name}.weights.safetensors")
            golden = load_file(SMALL / f"{name}.golden.safetensors")
            with torch.no_grad():
                found = built.eval()(torch.from_numpy(golden["input_f32"])).numpy()
            np.testing.assert_allclose(
                found, golden["logits"], rtol=0, atol=1e-4 * abs(golden["logits"]).max(), err_msg=name
            )

    def test_every_family_learns_and_continues_to_the_bit(self):
        for family in families.FAMILIES:
            if family == "resnete18":
                continue
            whole = self.train(f"{family}-whole", family)
            with self.assertRaises(FileNotFoundError):
                self.train(f"{family}-parts", family, "--stop-after", "1")
            parts = self.train(f"{family}-parts", family)
            self.assertEqual(whole.keys(), parts.keys())
            for name in whole:
                np.testing.assert_array_equal(whole[name], parts[name], f"{family} {name}")
            torch.manual_seed(0)
            fresh = families.FAMILIES[family](4, 3).state_dict()
            moved = [name for name in whole if name.endswith("weight") and (whole[name] != fresh[name].numpy()).any()]
            self.assertEqual(moved, [name for name in whole if name.endswith("weight")], family)

    def test_packed_weights_are_the_signs_and_their_scale(self):
        for family, scaled in (("binary-dense-net", False), ("igp-resnet", True), ("duo-vgg7", True)):
            latent = self.train(family, family, epochs=1)
            packed = load_file(self.folder / family / "packed.safetensors")
            names = families.FAMILIES[family](4, 3).binary_convolutions()
            self.assertGreater(len(names), 4)
            for name in names:
                weight = latent[f"{name}.weight"]
                bits = np.unpackbits(packed[f"{name}.bits"].view(np.uint8), bitorder="little")[: weight.size]
                np.testing.assert_array_equal(bits == 1, weight.transpose(0, 2, 3, 1).ravel() >= 0)
                self.assertEqual(f"{name}.scale" in packed, scaled, name)
                if scaled:
                    np.testing.assert_allclose(packed[f"{name}.scale"], [abs(weight).mean()], rtol=1e-6)
            others = {name for name in latent if not name.endswith("num_batches_tracked")}
            others -= {f"{name}.weight" for name in names}
            self.assertEqual({name for name in packed if not name.endswith((".bits", ".scale"))}, others)
            # The command packs the same from the file alone.
            again = self.folder / "again.safetensors"
            command = ["", str(self.folder / family / "latent.safetensors"), "-o", str(again)]
            with unittest.mock.patch("sys.argv", command):
                pack.main()
            for name, values in load_file(again).items():
                np.testing.assert_array_equal(values, packed[name], name)

    def test_a_decoupled_network_answers_as_the_coupled_one_and_trains_on(self):
        import decouple

        self.train("coupled", "duo-vgg7-coupled", width=5, epochs=1)
        source, target = self.folder / "coupled" / "latent.safetensors", self.folder / "decoupled.safetensors"
        with unittest.mock.patch("sys.argv", ["", str(source), "-o", str(target)]):
            decouple.main()
        coupled, decoupled = (families.FAMILIES[name](5, 3).eval() for name in ("duo-vgg7-coupled", "duo-vgg7"))
        weights.load_weights(coupled, source)
        weights.load_weights(decoupled, target)
        inputs = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected, found = coupled(inputs), decoupled(inputs)
        self.assertGreater(expected.std(), 0)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        self.train("second", "duo-vgg7", "--start-from", str(target), width=5, epochs=1)

    @unittest.skipIf(importlib.util.find_spec("ninja") is None or shutil.which("c++") is None, "needs ninja and c++")
    def test_fused_convolutions_say_what_plain_ones_do(self):
        import fused

        convolutions = (
            (8, lambda: network.BinaryConvolution(6, 10, 1)),
            (2, lambda: network.BinaryConvolution(6, 10, 1, scaled=True)),
            (4, lambda: network.BinaryConvolution(6, 10, 1, size=4, padding=0, scaled=True)),
            (3, lambda: network.BinaryConvolution(6, 10, 1, size=1, padding=0, scaled=True)),
        )
        for size, build in convolutions:
            inputs = torch.randn(5, 6, size, size).sign().contiguous(memory_format=torch.channels_last)
            results = []
            for install in (lambda layer: None, fused.install):
                torch.manual_seed(1)
                layer = build().to(memory_format=torch.channels_last)
                layer.weight.data *= 10
                install(layer)
                x = inputs.clone().requires_grad_()
                out = layer(x)
                out.backward(torch.linspace(-1, 1, out.numel()).reshape(out.shape))
                results.append((out.detach(), x.grad, layer.weight.grad))
            self.assertTrue(hasattr(layer, "kernels"))
            for expected, found in zip(*results, strict=True):
                self.assertGreater(expected.abs().max(), 0)
                self.assertLess((expected - found).abs().max(), 1e-5 * expected.abs().max(), size)

    @unittest.skipIf(importlib.util.find_spec("ninja") is None or shutil.which("c++") is None, "needs ninja and c++")
    def test_fused_signs_and_steps_are_those_of_the_definition(self):
        import fused

        inputs = torch.tensor([-3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.49, 0.5, 0.74, 0.75, 1.0, 1.01]).view(2, 2, 3, 1)
        for build in (network.Sign, lambda: families.Step(0.5), lambda: families.Step(0.25, 0.75)):
            plain, quick = build(), build()
            fused.install(quick)
            results = []
            for layer in (plain, quick):
                x = inputs.clone(memory_format=torch.channels_last).requires_grad_()
                out = layer(x)
                out.backward(torch.arange(12.0).view(inputs.shape))
                results.append((out, x.grad))
            for expected, found in zip(*results, strict=True):
                self.assertTrue(torch.equal(expected, found), f"{plain}: {expected.ravel()} {found.ravel()}")

    @unittest.skipIf(importlib.util.find_spec("ninja") is None or shutil.which("c++") is None, "needs ninja and c++")
    def test_every_family_trains_with_fused_layers(self):
        for family in ("binary-dense-net-pooled", "igp-resnet-pooled", "duo-vgg7-coupled", "duo-vgg7"):
            self.train(family, family, "--fused", epochs=1)


if __name__ == "__main__":
    unittest.main()
