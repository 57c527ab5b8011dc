"""What can go wrong, and packages that may be missing."""

import importlib


# Where a package is installed under another name than it is imported.
INSTALLED_AS = {"PIL": "pillow"}


class ExportError(Exception):
    """Something that the user can put right; the message says in one line what."""


def package(name, purpose):
    """Imports a package that is only needed for `purpose`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        top = INSTALLED_AS.get(top, top)
        raise ExportError(f"{purpose} needs the package {top} (pip install {top}): {error}") from error
