"""Golden files hold what the network was fed and what it said."""

import unittest

from bnn_export import golden, tensor_file
from bnn_export.errors import ExportError

from .support import FolderTest, needs


@needs("numpy")
class Golden(FolderTest):
    def pixels(self):
        import numpy

        return (numpy.arange(2 * 2 * 3 * 3, dtype=numpy.uint8) * 7).reshape(2, 2, 3, 3)

    def test_pixels_are_normalised_and_turned(self):
        pixels = self.pixels()
        inputs = golden.normalised(pixels, (0.5, 0.25, 0.0), (2.0,))
        self.assertEqual(inputs.shape, (2, 3, 2, 3))
        self.assertAlmostEqual(float(inputs[1, 1, 0, 2]), (int(pixels[1, 0, 2, 1]) / 255 - 0.25) / 2, 6)
        raw = golden.normalised(pixels, value_range=255.0, layout="nhwc")
        self.assertEqual(raw.tolist(), pixels.tolist())
        with self.assertRaisesRegex(ExportError, "mean: 2 numbers for 3 channels"):
            golden.normalised(pixels, (1.0, 2.0))

    def test_images_are_read_from_every_form(self):
        import numpy

        pixels, labels = self.pixels(), numpy.array([4, 2])
        numpy.save(self.folder / "a.npy", pixels)
        numpy.savez(self.folder / "b.npz", x=pixels, y=labels)
        tensor_file.write(self.folder / "c.safetensors", {
            "images": tensor_file.Tensor.from_array(pixels),
            "labels": tensor_file.Tensor.from_array(labels),
        })
        for name, expected in {"a.npy": None, "b.npz": [4], "c.safetensors": [4]}.items():
            found, found_labels = golden.read_images(self.folder / name, 1)
            numpy.testing.assert_array_equal(found, pixels[:1])
            self.assertEqual(None if found_labels is None else found_labels.tolist(), expected)
        numpy.save(self.folder / "floats.npy", pixels.astype(numpy.float32))
        with self.assertRaisesRegex(ExportError, "expected u8"):
            golden.read_images(self.folder / "floats.npy")

    def test_the_file_holds_everything(self):
        import numpy

        pixels = self.pixels()
        inputs = golden.normalised(pixels)
        path = self.folder / "golden.safetensors"
        logits = [[1.0, -2.0], [0.0, 3.0]]
        self.assertEqual(golden.write(path, inputs, logits, pixels, [0, 1]), [])
        found = tensor_file.read(path)
        self.assertEqual({name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}, {
            "input_f32": ("F32", (2, 3, 2, 3)), "input_u8": ("U8", (2, 2, 3, 3)),
            "logits": ("F32", (2, 2)), "labels": ("I64", (2,)),
        })
        self.assertEqual(found["logits"].array().tolist(), logits)
        with self.assertRaisesRegex(ExportError, "finite"):
            golden.write(path, inputs, [[1.0, numpy.nan], [0.0, 3.0]])

    def test_probabilities_are_noticed(self):
        inputs = golden.normalised(self.pixels())
        remarks = golden.write(self.folder / "p.safetensors", inputs, [[0.25, 0.75], [0.5, 0.5]])
        self.assertIn("probabilities", remarks[0])


if __name__ == "__main__":
    unittest.main()
