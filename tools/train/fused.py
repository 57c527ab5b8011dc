"""Faster training on a CPU: what lies between the convolutions of a network in few passes over memory (fused.cpp).

`install(network)` gives the layers of a network this way of computing in training; evaluation stays as it is. The
results are those of network.py up to rounding, in about half the time (blocks of ResNetE as a whole, signs, steps and
binary weights of the other families). Needs a C++ compiler and the package ninja; the
kernels are compiled on the first call (about a minute) and kept by PyTorch for the next ones.
"""

import types
from pathlib import Path

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

import families
import network as layers


def _compile():
    # Only here, because it looks for compilers when it is imported.
    from torch.utils.cpp_extension import load

    source = Path(__file__).with_name("fused.cpp")
    return load("bnn_train_fused", [str(source)], extra_cflags=["-O3", "-march=native", "-fno-math-errno"])


class FusedSign(torch.autograd.Function):
    """sign(x + shift), with the gradient of `network.ActivationSign`."""

    @staticmethod
    def forward(context, kernels, x, shift):
        context.kernels = kernels
        context.save_for_backward(x, shift)
        return kernels.sign_forward(x, shift)

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        return None, *context.kernels.sign_backward(gradient, *context.saved_tensors)


class FusedWeightSign(torch.autograd.Function):
    """sign(w), with the gradient of `network.WeightSign`."""

    @staticmethod
    def forward(context, kernels, weight):
        context.kernels = kernels
        context.save_for_backward(weight)
        return kernels.weight_sign_forward(weight)

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        return None, context.kernels.weight_sign_backward(gradient, *context.saved_tensors)


class FusedSteps(torch.autograd.Function):
    """The share of the thresholds that x reaches, with the gradient of `families.Steps`."""

    @staticmethod
    def forward(context, kernels, x, thresholds):
        context.kernels = kernels
        context.save_for_backward(x)
        return kernels.steps_forward(x, list(thresholds))

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        return None, context.kernels.steps_backward(gradient, *context.saved_tensors), None


class FusedTail(torch.autograd.Function):
    """RPReLU(BN(x) + shortcut) with the statistics of the batch."""

    @staticmethod
    def forward(context, kernels, x, shortcut, weight, bias, before, slope, after, mean, variance, epsilon):
        deviation = (variance + epsilon).rsqrt()
        scale = weight * deviation
        offset = bias - mean * scale + before
        context.kernels = kernels
        context.save_for_backward(x, shortcut, scale, offset, slope, mean, deviation)
        return kernels.tail_forward(x, shortcut, scale, offset, slope, after)

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        return None, *context.kernels.tail_backward(gradient, *context.saved_tensors), None, None, None


class SmallMapConvolution(torch.autograd.Function):
    """3x3 convolution with padding 1 of 2x2 maps.

    Every output sees every input, so it is a dense layer whose matrix holds the weights under each pair of them.
    """

    @staticmethod
    def _part(weight, oy, ox):
        """Weights [O, 2, 2, I] with which the output at (oy, ox) sees the four inputs."""
        return weight.permute(0, 2, 3, 1)[:, 1 - oy : 3 - oy, 1 - ox : 3 - ox]

    @staticmethod
    def forward(context, x, weight):
        count, channels = x.shape[:2]
        out_channels = len(weight)
        rows = x.permute(0, 2, 3, 1).reshape(count, 4 * channels)
        matrix = weight.new_empty(2, 2, out_channels, 2, 2, channels)
        for oy in (0, 1):
            for ox in (0, 1):
                matrix[oy, ox] = SmallMapConvolution._part(weight, oy, ox)
        matrix = matrix.view(4 * out_channels, 4 * channels)
        context.save_for_backward(rows, matrix)
        return (rows @ matrix.T).view(count, 2, 2, out_channels).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        rows, matrix = context.saved_tensors
        count, out_channels = gradient.shape[:2]
        channels = rows.shape[1] // 4
        gradient = gradient.permute(0, 2, 3, 1).reshape(count, 4 * out_channels)
        of_matrix = (gradient.T @ rows).view(2, 2, out_channels, 2, 2, channels)
        of_weight = gradient.new_zeros(out_channels, 3, 3, channels).permute(0, 3, 1, 2)
        for oy in (0, 1):
            for ox in (0, 1):
                SmallMapConvolution._part(of_weight, oy, ox).add_(of_matrix[oy, ox])
        return (gradient @ matrix).view(count, 2, 2, channels).permute(0, 3, 1, 2), of_weight


def _convolve(x, weight, stride):
    """3x3 convolution with padding 1; on small maps as one matrix product, which is far faster there."""
    count, channels, height, width = x.shape
    if (height, width, stride) == (2, 2, 1):
        return SmallMapConvolution.apply(x, weight)
    if (height, width, stride) == (4, 4, 2):
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        taps = [padded[:, ky : ky + 3 : 2, kx : kx + 3 : 2] for ky in range(3) for kx in range(3)]
        rows = torch.cat(taps, dim=3).reshape(count * 4, 9 * channels)
        out = functional.linear(rows, weight.permute(0, 2, 3, 1).reshape(-1, 9 * channels))
        return out.view(count, 2, 2, -1).permute(0, 3, 1, 2)
    return functional.conv2d(x, weight, None, stride, padding=1)


def _block(block, x):
    """`network.Block`."""
    kernels, norm, activation = block.kernels, block.norm, block.activation
    weight = FusedWeightSign.apply(kernels, block.conv.weight)
    out = _convolve(FusedSign.apply(kernels, x, block.sign.shift), weight, block.conv.stride)
    with torch.no_grad():
        mean, variance = kernels.statistics(out)
        count = out.numel() / out.shape[1]
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
    return FusedTail.apply(
        kernels, out, block.shortcut(x), norm.weight, norm.bias, activation.shift_before, activation.slope,
        activation.shift_after, mean, variance, norm.eps,
    )  # fmt: skip


def _sign(sign, x):
    """`network.Sign`."""
    return FusedSign.apply(sign.kernels, _channels_last(x), x.new_zeros(x.shape[1]))


def _step(step, x):
    """`families.Step`."""
    return FusedSteps.apply(step.kernels, _channels_last(x), step.thresholds)


def _binary_convolution(convolution, x):
    """`network.BinaryConvolution`."""
    weight = FusedWeightSign.apply(convolution.kernels, convolution.weight)
    if convolution.scaled:
        weight = weight * convolution.weight.detach().abs().mean()
    if weight.shape[2:] == (3, 3) and convolution.padding == 1:
        return _convolve(x, weight, convolution.stride)
    return functional.conv2d(x, weight, None, convolution.stride, convolution.padding)


def _channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


# How layers of these kinds compute in training.
FUSED = {
    layers.Block: _block,
    layers.Sign: _sign,
    layers.BinaryConvolution: _binary_convolution,
    families.Step: _step,
}


def _forward(layer, x):
    return FUSED[type(layer)](layer, x) if layer.training else type(layer).forward(layer, x)


def install(network):
    """Compiles the kernels, if that has not been done before, and lets the network's layers use them."""
    kernels = _compile()
    for layer in network.modules():
        if type(layer) in FUSED:
            layer.kernels = kernels
            layer.forward = types.MethodType(_forward, layer)
