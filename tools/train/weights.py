"""Latent weights in files."""

from safetensors.torch import load_file, save_file

import checkpoint
import pack


def save_weights(network, path, metadata):
    """Writes everything that a network has learned, as it is; returns the tensors by name."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with checkpoint.replacing(path) as temporary:
        save_file(state, temporary, metadata)
    return state


def load_weights(network, path):
    """Takes over the latent weights of an earlier run; those of the shipped model may be named by position."""
    weights = {pack.canonical_name(name): tensor for name, tensor in load_file(path).items()}
    own = network.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith(".num_batches_tracked")]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        raise pack.PackError(f"tensor {(missing + unknown)[0]}: {'missing' if missing else 'unknown name'}")
    for name, tensor in weights.items():
        if tensor.numel() != own[name].numel():
            raise pack.PackError(f"tensor {name}: has shape {list(tensor.shape)}, expected {list(own[name].shape)}")
        weights[name] = tensor.reshape(own[name].shape)
    network.load_state_dict(weights, strict=False)
