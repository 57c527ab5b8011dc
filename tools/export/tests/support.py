"""What tests share: which packages are there, and a folder that goes away."""

import importlib.util
import pathlib
import tempfile
import unittest


def needs(*packages):
    """Skips a test where a package is missing, and says which."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return unittest.skipIf(missing, f"without {', '.join(missing)}")


class FolderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
