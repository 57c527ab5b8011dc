"""Latent weights in files."""

import json

from safetensors.torch import load_file, save_file

import checkpoint
import pack
from network import ResNetE18


def save_weights(network, path, metadata):
    """Writes everything that a network has learned, as it is, and which of its convolutions are binary."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with checkpoint.replacing(path) as temporary:
        save_file(state, temporary, metadata | {pack.BINARY_KEY: json.dumps(binary(network), sort_keys=True)})


def save_packed(network, path, metadata):
    """Writes the weights as the engine reads them."""
    state = {name: tensor.cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
    # The default model is written as it always was.
    with checkpoint.replacing(path) as temporary:
        pack.write_packed(temporary, state, metadata, None if isinstance(network, ResNetE18) else binary(network))


def binary(network):
    """Of every binary convolution whether its signs are scaled."""
    return {name: convolution.scaled for name, convolution in network.binary_convolutions().items()}


def load_weights(network, path):
    """Takes over the latent weights of an earlier run; those of the shipped model may be named by position."""
    weights, own = load_file(path), network.state_dict()
    if isinstance(network, ResNetE18):
        weights = {pack.canonical_name(name): tensor for name, tensor in weights.items()}
    missing = [name for name in own if name not in weights and not name.endswith(".num_batches_tracked")]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        raise pack.PackError(f"tensor {(missing + unknown)[0]}: {'missing' if missing else 'unknown name'}")
    for name, tensor in weights.items():
        if tensor.numel() != own[name].numel():
            raise pack.PackError(f"tensor {name}: has shape {list(tensor.shape)}, expected {list(own[name].shape)}")
        weights[name] = tensor.reshape(own[name].shape)
    network.load_state_dict(weights, strict=False)
