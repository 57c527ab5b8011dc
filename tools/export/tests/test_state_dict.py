"""States are found where checkpoints keep them, and their names lose what wrappers add."""

import unittest

from bnn_export import state_dict, tensor_file
from bnn_export.errors import ExportError

from .support import FolderTest, needs


class Names(unittest.TestCase):
    def test_wrappers_go_where_all_names_have_them(self):
        renamed = state_dict.renamed
        self.assertEqual(renamed({"module.a": 1, "module.b": 2}), {"a": 1, "b": 2})
        self.assertEqual(renamed({"module._orig_mod.a": 1}), {"a": 1})
        self.assertEqual(renamed({"module.a": 1, "b": 2}), {"module.a": 1, "b": 2})
        self.assertEqual(renamed({"module.a": 1}, keep_wrappers=True), {"module.a": 1})
        self.assertEqual(renamed({"net.a": 1, "b": 2}, strip=["net."]), {"a": 1, "b": 2})

    def test_names_stay_different(self):
        with self.assertRaisesRegex(ExportError, "two tensors would be named a"):
            state_dict.renamed({"x.a": 1, "a": 2}, strip=["x."])

    def test_the_state_is_found(self):
        def is_tensor(value):
            return isinstance(value, float)

        def find(content, key=None):
            return state_dict.find(content, key, is_tensor)

        self.assertEqual(find({"a": 1.0, "epoch": 3}), {"a": 1.0})
        self.assertEqual(find({"epoch": 3, "state_dict": {"a": 1.0}}), {"a": 1.0})
        self.assertEqual(find({"ema": {"model": {"a": 1.0}}}, "ema/model"), {"a": 1.0})
        with self.assertRaisesRegex(ExportError, "no tensors there, found epoch, other"):
            find({"epoch": 3, "other": {"a": 1.0}})
        with self.assertRaisesRegex(ExportError, "nothing is called wrong, found epoch"):
            find({"epoch": 3}, "wrong")


@needs("torch", "numpy")
class Checkpoints(FolderTest):
    def test_a_checkpoint_becomes_a_safetensors_file(self):
        import torch

        state = {"module.w": torch.arange(6.0).reshape(2, 3).T, "module.n": torch.tensor(5),
                 "module.h": torch.tensor([1.5], dtype=torch.bfloat16)}
        source, target = self.folder / "in.pth", self.folder / "out.safetensors"
        torch.save({"epoch": 1, "state_dict": state}, source)
        self.assertEqual(state_dict.convert(source, target), (3, 8))
        found = tensor_file.read(target)
        self.assertEqual(sorted(found), ["h", "n", "w"])
        self.assertEqual(found["w"].array().tolist(), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]])
        self.assertEqual((found["n"].shape, found["n"].array().tolist()), ((), 5))
        self.assertEqual((found["h"].dtype, found["h"].data), ("BF16", b"\xc0\x3f"))

    def test_code_does_not_run_untrusted(self):
        import torch

        path = self.folder / "module.pth"
        torch.save(torch.nn.Linear(2, 3), path)
        with self.assertRaisesRegex(ExportError, "--trusted"):
            state_dict.load(path)
        self.assertEqual(sorted(state_dict.load(path, trusted=True)), ["bias", "weight"])
        with self.assertRaisesRegex(ExportError, "cannot be read"):
            state_dict.load(self.folder / "missing.pth")


if __name__ == "__main__":
    unittest.main()
