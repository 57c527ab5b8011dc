"""Files are written as the format says and read back the same; broken ones are refused."""

import json
import struct
import unittest

from bnn_export.errors import ExportError
from bnn_export.tensor_file import Tensor, read, write

from .support import FolderTest, needs


class TensorFile(FolderTest):
    def test_bytes_are_those_of_the_format(self):
        path = self.folder / "two.safetensors"
        write(path, {"b": Tensor.from_values("U8", [3], [1, 2, 3]),
                     "a": Tensor.from_values("F32", [1, 2], [0.5, -1.0])}, {"format": "pt"})
        content = path.read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        self.assertEqual(length % 8, 0)
        header = json.loads(content[8 : 8 + length])
        self.assertEqual(header, {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
            "b": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]},
        })
        self.assertEqual(content[8 + length :], struct.pack("<2f", 0.5, -1.0) + bytes([1, 2, 3]))
        self.assertEqual([file.name for file in self.folder.iterdir()], ["two.safetensors"])

    def test_what_is_written_is_read(self):
        tensors = {"x": Tensor.from_values("I64", [2], [-1, 1 << 40]), "none": Tensor("F16", (0, 3), b""),
                   "one": Tensor("BF16", (), b"\x80\x3f")}
        path = self.folder / "all.safetensors"
        write(path, tensors)
        self.assertEqual(read(path), tensors)

    def test_sizes_must_agree(self):
        for arguments in [("F32", (2,), b"1234"), ("F33", (1,), b"1234"), ("U8", (), b"")]:
            with self.assertRaises(ExportError):
                Tensor(*arguments)

    def test_broken_files_are_refused(self):
        header = json.dumps({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}).encode()
        for name, content in {
            "empty": b"", "short": b"\x01\x00", "long": struct.pack("<Q", 1 << 60) + b"{}",
            "json": struct.pack("<Q", 2) + b"[]", "text": struct.pack("<Q", 2) + b"\xff\xff",
            "outside": struct.pack("<Q", len(header)) + header + b"12345678",
        }.items():
            path = self.folder / name
            path.write_bytes(content)
            with self.assertRaises(ExportError, msg=name) as caught:
                read(path)
            self.assertIn(name, str(caught.exception))

    @needs("numpy", "safetensors")
    def test_the_package_safetensors_reads_it(self):
        import numpy
        from safetensors.numpy import load_file

        arrays = {"f": numpy.arange(6, dtype=numpy.float32).reshape(2, 3).T, "b": numpy.array([True]),
                  "i": numpy.array(7, dtype=numpy.int64), "h": numpy.ones((0, 2), numpy.float16)}
        path = self.folder / "arrays.safetensors"
        write(path, {name: Tensor.from_array(array) for name, array in arrays.items()})
        for name, found in load_file(path).items():
            numpy.testing.assert_array_equal(found, arrays.pop(name))
        self.assertEqual(arrays, {})


if __name__ == "__main__":
    unittest.main()
