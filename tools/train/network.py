"""The network of the default model: a narrow ResNetE-18 whose 3x3 convolutions in the blocks are binary.

    stem        conv 3x3 (float) -> BN -> max pool 2x2
    16 blocks   y = RPReLU(BN(bconv3x3(sign(x + shift))) + shortcut(x))
                in four stages of four, `width` channels in the first and twice as many in each next one
    classifier  mean over the map -> dense (float)

The first block of stages two to four halves the map; its shortcut is average pool 2x2 -> conv 1x1 (float) -> BN.
Sources: Bethge et al., "Back to Simplicity" (2019) for ResNetE's float downsampling and one shortcut per
convolution; Liu et al., "Bi-Real Net" (2018) for the polynomial gradient; Liu et al., "ReActNet" (2020) for the
learned shifts of sign and PReLU.

Tensor names are those of `state_dict()`; `pack.py` keeps them, and the engine reads them.
"""

import torch
from torch import nn
from torch.nn import functional

STAGES = 4
BLOCKS_PER_STAGE = 4
# Latent weights are kept within this distance of zero, so that none drifts so far that it cannot change sign again.
LATENT_LIMIT = 1.5


def sign(x):
    """+1 where x >= 0 (so also for both zeros), else -1."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


class WeightSign(torch.autograd.Function):
    """sign(w); the gradient passes unchanged where |w| <= 1.25 and is zero elsewhere."""

    @staticmethod
    def forward(context, weight):
        context.save_for_backward(weight)
        return sign(weight)

    @staticmethod
    def backward(context, gradient):
        (weight,) = context.saved_tensors
        return gradient * (weight.abs() <= 1.25).to(gradient.dtype)


class ActivationSign(torch.autograd.Function):
    """sign(x); its gradient is that of Bi-Real Net's piecewise polynomial, max(2 - 2|x|, 0)."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return sign(x)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (2 - 2 * x.abs()).clamp(min=0).to(gradient.dtype)


class Sign(nn.Module):
    """sign(x)."""

    def forward(self, x):
        return ActivationSign.apply(x)


class ShiftedSign(nn.Module):
    """sign(x + shift) with one learned shift per channel (RSign)."""

    def __init__(self, channels):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return ActivationSign.apply(x + self.shift.view(1, -1, 1, 1))


class ShiftedPReLU(nn.Module):
    """PReLU(x + shift_before) + shift_after, all three per channel (RPReLU)."""

    def __init__(self, channels):
        super().__init__()
        self.shift_before = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.shift_after = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        x = functional.prelu(x + self.shift_before.view(1, -1, 1, 1), self.slope)
        return x + self.shift_after.view(1, -1, 1, 1)


class BinaryConvolution(nn.Module):
    """Convolution, 3x3 with zero padding 1 unless said otherwise, no bias, with the signs of its latent weights.

    A scaled one multiplies them by the mean magnitude of all latent weights (DoReFa-Net, BinaryDuo, IGP-ResNet).
    """

    def __init__(self, in_channels, out_channels, stride, size=3, padding=1, scaled=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, size, size).normal_(std=0.1))
        self.stride, self.padding, self.scaled = stride, padding, scaled

    def forward(self, x):
        weight = WeightSign.apply(self.weight)
        if self.scaled:
            weight = weight * self.weight.detach().abs().mean()
        return functional.conv2d(x, weight, None, self.stride, self.padding)

    @torch.no_grad()
    def limit(self):
        """Brings latent weights back into their range."""
        self.weight.clamp_(-LATENT_LIMIT, LATENT_LIMIT)


class BinaryNetwork(nn.Module):
    """A network that knows its binary convolutions."""

    def binary_convolutions(self):
        """Binary convolutions by name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, BinaryConvolution)}

    def limit_latent_weights(self):
        """Brings the latent weights of all binary convolutions back into their range."""
        for convolution in self.binary_convolutions().values():
            convolution.limit()


class Downsampling(nn.Module):
    """The float shortcut of a block that halves the map."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.norm(self.conv(functional.avg_pool2d(x, 2)))


class Block(nn.Module):
    """One binary convolution with its shortcut."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.sign = ShiftedSign(in_channels)
        self.conv = BinaryConvolution(in_channels, out_channels, stride)
        self.norm = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity() if stride == 1 else Downsampling(in_channels, out_channels)
        self.activation = ShiftedPReLU(out_channels)

    def forward(self, x):
        return self.activation(self.norm(self.conv(self.sign(x))) + self.shortcut(x))


class ResNetE18(BinaryNetwork):
    """Pictures f32 [N, 3, H, W], normalised, to logits [N, classes]."""

    def __init__(self, width=32, classes=10, pooled=True):
        """Without the pool behind the stem, `pooled=False`, every map is twice as high and wide."""
        super().__init__()
        self.pooled = pooled
        self.stem = nn.ModuleDict(
            {"conv": nn.Conv2d(3, width, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(width)}
        )
        blocks, channels = [], width
        for stage in range(STAGES):
            for index in range(BLOCKS_PER_STAGE):
                out_channels = width * 2**stage
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Block(channels, out_channels, stride))
                channels = out_channels
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.stem["norm"](self.stem["conv"](x))
        if self.pooled:
            x = functional.max_pool2d(x, 2)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(dim=(2, 3)))
