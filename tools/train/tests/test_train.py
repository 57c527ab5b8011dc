"""A tiny network trains, goes on after an interruption, starts from weights, and is packed."""

import argparse
import contextlib
import importlib.util
import io
import json
import pathlib
import shutil
import sys
import tempfile
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
MISSING = [name for name in ("torch", "numpy", "safetensors", "PIL") if importlib.util.find_spec(name) is None]
if not MISSING:
    import numpy as np
    import torch
    from safetensors.numpy import load_file

    import data
    import network
    import pack
    import train


def example(seed, count=24):
    """Pictures of three classes that differ in colour."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pictures = random.integers(0, 120, (count, 32, 32, 3))
    pictures[np.arange(count), :, :, labels] += 120
    return pictures.astype(np.uint8), labels


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)}")
class Train(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name, seed in (("train", 0), ("more", 1), ("test", 2)):
            pictures, labels = example(seed)
            np.savez(self.folder / f"{name}.npz", x=pictures, y=labels)

    def train(self, output, *more, epochs=3):
        arguments = [str(self.folder / "train.npz"), "--test", str(self.folder / "test.npz"), "-o"]
        arguments += [str(self.folder / output), "--width", "8", "--batch", "8", "--threads", "1"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train.main([*arguments, "--epochs", str(epochs), *more])
        return self.folder / output

    def latent(self, output):
        return load_file(self.folder / output / "latent.safetensors")

    def assert_same(self, first, second):
        self.assertEqual(first.keys(), second.keys())
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], name)

    def refused(self, *arguments, **more):
        with self.assertRaises(SystemExit) as caught:
            self.train(*arguments, **more)
        self.assertIn("error: ", str(caught.exception))
        return str(caught.exception)

    def test_a_continued_run_is_the_uninterrupted_one_to_the_bit(self):
        options = ("--distort", "0.5", "--hold", "1")
        self.train("whole", *options)
        self.train("parts", *options, "--stop-after", "1")
        self.assertFalse((self.folder / "parts" / "latent.safetensors").exists())
        self.train("parts", *options)
        self.assert_same(self.latent("whole"), self.latent("parts"))
        log = (self.folder / "parts" / "log.jsonl").read_text().splitlines()
        self.assertEqual([json.loads(line)["epoch"] for line in log], [1, 2, 3])

    def test_it_learns_colours(self):
        folder = self.train("run", "--learning-rate", "0.02", epochs=12)
        first, *_, last = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        self.assertLess(last["loss"], 0.7 * first["loss"])

    def test_what_is_packed_are_the_signs_and_the_floats(self):
        folder = self.train("run", epochs=1)
        latent, packed = self.latent("run"), load_file(folder / "packed.safetensors")
        weight = latent["blocks.3.conv.weight"]
        bits = np.unpackbits(packed["blocks.3.conv.bits"].view(np.uint8), bitorder="little")[: weight.size]
        np.testing.assert_array_equal(bits == 1, weight.transpose(0, 2, 3, 1).ravel() >= 0)
        np.testing.assert_array_equal(packed["classifier.weight"].astype(np.float32), latent["classifier.weight"])

    def test_a_run_starts_from_the_weights_of_another(self):
        self.train("first", epochs=1)
        weights = str(self.folder / "first" / "latent.safetensors")
        # At a learning rate of nothing, only statistics move.
        self.train("second", "--start-from", weights, "--learning-rate", "0", epochs=1)
        first, second = self.latent("first"), self.latent("second")
        for name in first:
            if ".running_" not in name and not name.endswith(".num_batches_tracked"):
                np.testing.assert_array_equal(first[name], second[name], name)

    def test_weights_of_another_network_are_refused(self):
        self.train("first", epochs=1)
        weights = str(self.folder / "first" / "latent.safetensors")
        self.assertIn("shape", self.refused("second", "--start-from", weights, "--width", "16"))
        (self.folder / "broken.safetensors").write_bytes(b"no weights")
        self.refused("second", "--start-from", str(self.folder / "broken.safetensors"))

    def test_epochs_to_hold_can_be_added_before_the_fall_and_not_in_it(self):
        self.train("run", "--hold", "4", "--stop-after", "2", epochs=6)
        self.train("run", "--hold", "2", "--stop-after", "3", epochs=4)
        self.assertIn("begun to fall", self.refused("run", "--hold", "6", epochs=8))
        self.assertIn("was trained with", self.refused("run", "--hold", "2", epochs=5))

    def test_statistics_are_those_of_the_pictures_that_were_named(self):
        self.train("run", "--statistics", str(self.folder / "more.npz"), epochs=1)
        found = self.latent("run")
        weight = torch.from_numpy(found["stem.conv.weight"])
        maps = torch.nn.functional.conv2d(data.normalise(data.load(self.folder / "more.npz")[0]), weight, padding=1)
        np.testing.assert_allclose(found["stem.norm.running_mean"], maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["stem.norm.running_var"], maps.var((0, 2, 3)), rtol=1e-4, atol=1e-5)

    def test_statistics_can_be_put_right_afterwards(self):
        import batch_statistics

        more = str(self.folder / "more.npz")
        for family in ("resnete18", "resnete18-full"):
            plain, run, after = (f"{family}-{name}" for name in ("plain", "run", "after"))
            self.train(plain, "--family", family, epochs=1)
            self.train(run, "--family", family, "--statistics", more, epochs=1)
            arguments = ["", str(self.folder / plain / "latent.safetensors"), more, "-o", str(self.folder / after)]
            with unittest.mock.patch("sys.argv", arguments):
                batch_statistics.main()
            found, expected = self.latent(after), self.latent(run)
            for name in expected:
                if not name.endswith(".num_batches_tracked"):
                    np.testing.assert_array_equal(found[name], expected[name], name)
            self.assertTrue((self.folder / after / "packed.safetensors").exists())

    def test_several_training_sets_are_one(self):
        two = [self.folder / "train.npz", self.folder / "more.npz"]
        pictures, labels = train.load_all(two)
        self.assertEqual((len(pictures), len(labels)), (48, 48))
        np.testing.assert_array_equal(pictures[24:], example(1)[0])

    def test_the_learning_rate_rises_stays_and_falls(self):
        factors = [train.learning_rate_factor(epoch, 14, 4) for epoch in (0, 0.5, 1, 3, 5, 9.5, 14)]
        expected = [1 / 25, 0.52, 1, 1, 1, 0.5, 0]
        for found, should in zip(factors, expected, strict=True):
            self.assertAlmostEqual(found, should, places=4)

    def test_distortions_keep_size_and_range_and_leave_some_pictures(self):
        pictures = torch.from_numpy(example(0, 200)[0]).float()
        changed = data.distort(pictures.clone(), 0.2, torch.Generator().manual_seed(0))
        again = data.distort(pictures.clone(), 0.2, torch.Generator().manual_seed(0))
        self.assertTrue(torch.equal(changed, again))
        self.assertEqual(changed.shape, pictures.shape)
        self.assertTrue(0 <= changed.min() and changed.max() <= 255)
        same = (changed == pictures).all(dim=(1, 2, 3)).float().mean()
        # Each of the five kinds leaves 0.8 of them: 0.33 are expected.
        self.assertTrue(0.2 < same < 0.45, same)
        for change in (data._scale, data._blur, data._colour, data._noise, data._compress):
            out = change(pictures[:9].permute(0, 3, 1, 2), torch.Generator().manual_seed(1)).permute(0, 2, 3, 1)
            self.assertFalse((out == pictures[:9]).all(dim=(1, 2, 3)).any(), change.__name__)
            # Still the same picture.
            self.assertLess((out.mean((1, 2)) - pictures[:9].mean((1, 2))).abs().max(), 90, change.__name__)

    def test_without_the_pool_maps_are_twice_as_large_and_weights_the_same(self):
        pooled, full = (network.ResNetE18(8, 3, pooled=pooled).eval() for pooled in (True, False))
        full.load_state_dict(pooled.state_dict())
        sizes = []
        full.blocks[-1].register_forward_hook(lambda module, inputs, out: sizes.append(tuple(out.shape[2:])))
        inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found, expected = full(inputs), pooled(inputs)
            maps = torch.nn.functional.max_pool2d(full.stem["norm"](full.stem["conv"](inputs)), 2)
            for block in full.blocks:
                maps = block(maps)
        self.assertEqual(sizes[0], (4, 4))
        self.assertFalse(torch.allclose(found, expected))
        torch.testing.assert_close(full.classifier(maps.mean((2, 3))), expected)

    def test_pictures_are_restored_part_of_the_way(self):
        import restore

        random = np.random.default_rng(0)
        lossless = np.repeat(np.repeat(random.integers(40, 200, (60, 4, 4, 3)), 2, 1), 2, 2).astype(np.uint8)
        # What compression did here: everything is darker.
        np.savez(self.folder / "lossless.npz", x=lossless, y=np.zeros(60, int))
        np.savez(self.folder / "compressed.npz", x=lossless - 30, y=np.zeros(60, int))
        names = [str(self.folder / f"{name}.npz") for name in ("compressed", "compressed", "lossless", "restored")]
        restore.main([*names[:3], "-o", names[3], "--steps", "120", "--threads", "1"])
        restored, labels = data.load(names[3])
        self.assertEqual((restored.shape, len(labels)), (lossless.shape, 60))
        part = (restored.numpy() - (lossless - 30.0)).mean((1, 2, 3)) / 30
        self.assertTrue(0.15 < part.min() < 0.45 < 0.6 < part.max() < 0.9, part)
        with self.assertRaisesRegex(SystemExit, "lossless.npz: pictures have shape"):
            np.savez(self.folder / "compressed.npz", x=lossless[:5], y=np.zeros(5, int))
            restore.main([*names[:3], "-o", names[3]])

    @unittest.skipIf(importlib.util.find_spec("ninja") is None or shutil.which("c++") is None, "needs ninja and c++")
    def test_fused_blocks_say_what_plain_ones_do(self):
        import fused

        torch.manual_seed(0)
        for channels, out_channels, stride, size in ((16, 16, 1, 6), (16, 32, 2, 8), (16, 32, 2, 4), (32, 32, 1, 2)):
            blocks = []
            for _ in range(2):
                torch.manual_seed(1)
                block = network.Block(channels, out_channels, stride).to(memory_format=torch.channels_last)
                for parameter in block.parameters():
                    if parameter.dim() == 1:
                        parameter.data += 0.2 * torch.randn_like(parameter)
                blocks.append(block)
            plain, quick = blocks
            fused.install(quick)
            inputs = torch.randn(12, channels, size, size).contiguous(memory_format=torch.channels_last)
            results = []
            for block in blocks:
                x = inputs.clone().requires_grad_()
                out = block(x)
                out.backward(torch.linspace(-1, 1, out.numel()).reshape(out.shape))
                results.append([out, x.grad, *(parameter.grad for parameter in block.parameters())])
            for expected, found in zip(*results, strict=True):
                self.assertLess((expected - found).abs().max(), 2e-5 * expected.abs().max())
            for (name, expected), (_, found) in zip(plain.named_buffers(), quick.named_buffers(), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)
            quick.load_state_dict(plain.state_dict())
            plain.eval(), quick.eval()
            self.assertTrue(torch.equal(plain(inputs), quick(inputs)))

    @unittest.skipIf(importlib.util.find_spec("ninja") is None or shutil.which("c++") is None, "needs ninja and c++")
    def test_a_fused_run_learns_what_a_plain_one_does(self):
        losses = []
        for options in ((), ("--fused",)):
            folder = self.train("-".join(["run", *options]), *options, epochs=1)
            losses.append(json.loads((folder / "log.jsonl").read_text())["loss"])
        self.assertAlmostEqual(*losses, delta=0.02 * losses[0])

    def test_names_by_position_are_understood(self):
        self.assertEqual(pack.canonical_name("3.c.weight"), "blocks.0.conv.weight")
        self.assertEqual(pack.canonical_name("7.d.2.bias"), "blocks.4.shortcut.norm.bias")


if __name__ == "__main__":
    unittest.main()
