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
        for name, network in networks.items():
            weights.load_weights(network, SMALL / f"{name}.weights.safetensors")
            golden = load_file(SMALL / f"{name}.golden.safetensors")
            with torch.no_grad():
                found = network.eval()(torch.from_numpy(golden["input_f32"])).numpy()
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
            network = families.FAMILIES[family](4, 3)
            names = network.binary_convolutions()
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

    def test_fused_steps_are_for_the_default_network(self):
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            self.train("run", "igp-resnet", "--fused")


if __name__ == "__main__":
    unittest.main()
