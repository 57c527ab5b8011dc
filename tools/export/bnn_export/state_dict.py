"""Checkpoints of PyTorch to safetensors."""

from . import tensor_file
from .errors import ExportError, package

# Where checkpoints keep the state among epochs, optimisers and arguments.
USUAL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
# What DataParallel and torch.compile put in front of every name.
WRAPPERS = ("module.", "_orig_mod.")


def load(path, key=None, trusted=False):
    """The state in a checkpoint: tensors by name. A checkpoint can hold code, which runs only if it
    is `trusted`."""
    torch = package("torch", "reading a checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trusted)
    except FileNotFoundError as error:
        raise ExportError(f"{path}: cannot be read: {error}") from error
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "" if trusted else " (if it holds more than tensors and you trust it: --trusted)"
        raise ExportError(f"{path}: not a checkpoint that can be read: {first}{hint}") from error
    return find(content, key, lambda value: isinstance(value, torch.Tensor), str(path))


def find(content, key, is_tensor, name="the checkpoint"):
    """The tensors in what a checkpoint holds: under `key`, or at a usual place."""
    if key is not None:
        for part in key.split("/"):
            if not isinstance(content, dict) or part not in content:
                found = ", ".join(map(str, content)) if isinstance(content, dict) else "no names"
                raise ExportError(f"{name}: nothing is called {part}, found {shorten(found)}")
            content = content[part]
    else:
        for usual in USUAL_KEYS:
            if isinstance(content, dict) and not tensors_in(content, is_tensor) and usual in content:
                content = content[usual]
    if hasattr(content, "state_dict"):
        content = content.state_dict()
    if not isinstance(content, dict) or not (tensors := tensors_in(content, is_tensor)):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ExportError(f"{name}: no tensors there, found {shorten(found)}; name their place with --key")
    return tensors


def tensors_in(content, is_tensor):
    return {str(name): value for name, value in content.items() if is_tensor(value)}


def renamed(state, strip=(), keep_wrappers=False):
    """The state without what wrappers put in front of all names, and without the prefixes `strip`
    where a name has them."""
    if not keep_wrappers:
        stripped = True
        while stripped:
            stripped = False
            for wrapper in WRAPPERS:
                if state and all(name.startswith(wrapper) for name in state):
                    state = {name.removeprefix(wrapper): value for name, value in state.items()}
                    stripped = True
    names = {}
    for name, value in state.items():
        for prefix in strip:
            name = name.removeprefix(prefix)
        if name in names:
            raise ExportError(f"two tensors would be named {name} without their prefixes")
        names[name] = value
    return names


def convert(source, target, key=None, strip=(), keep_wrappers=False, trusted=False):
    """Writes the state in the checkpoint `source` to the safetensors file `target`; returns the
    number of tensors and of elements."""
    state = renamed(load(source, key, trusted), strip, keep_wrappers)
    tensors = {name: tensor_file.Tensor.from_torch(value) for name, value in state.items()}
    tensor_file.write(target, tensors, {"format": "pt"})
    return len(tensors), sum(value.numel() for value in state.values())


def shorten(text, length=200):
    return text if len(text) <= length else text[: length - 3] + "..."
