"""Networks of other papers, narrow enough for small pictures, that train.py trains as it does the default model's.

Each stands a second time in `models/src/families`, under the same name; tensor names agree, and the tests hold both to
the same answers.
"""

import torch
from torch import nn
from torch.nn import functional

from network import BinaryConvolution, BinaryNetwork, ResNetE18, Sign


def pool_of_stem(pooled):
    """What follows the rest of a stem: maps half as high and wide, for a quarter of the operations, or nothing."""
    return [nn.MaxPool2d(2)] if pooled else []


class BinaryDenseNet(BinaryNetwork):
    """Bethge et al., "Back to Simplicity" (2019), section 3.3: each unit appends `growth` new channels.

    stem        conv 3x3 (float), max pool 2x2 if `pooled`
    4 stages    x = concat(x, bconv3x3(sign(BN(x))))
    between     BN -> max pool 2x2 -> ReLU -> conv 1x1 (float)
    classifier  BN -> ReLU -> mean over the map -> dense (float)
    """

    def __init__(self, units, growth, stem_width, transitions, classes, pooled=False):
        """`units` of each of the four stages, `transitions` channels after each of the first three."""
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem_width, 3, padding=1, bias=False), *pool_of_stem(pooled))
        features, channels = [], stem_width
        for stage, count in enumerate(units):
            for _ in range(count):
                features.append(DenseUnit(channels, growth))
                channels += growth
            if stage < len(transitions):
                features.append(Transition(channels, transitions[stage]))
                channels = transitions[stage]
        self.features = nn.Sequential(*features)
        self.bn_last = nn.BatchNorm2d(channels)
        self.head = nn.ModuleDict({"fc": nn.Linear(channels, classes)})

    def forward(self, x):
        x = torch.relu(self.bn_last(self.features(self.stem(x))))
        return self.head["fc"](x.mean(dim=(2, 3)))


class DenseUnit(nn.Module):
    """Appends new channels after those of its input."""

    def __init__(self, channels, growth):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.sign = Sign()
        self.conv = BinaryConvolution(channels, growth, 1)

    def forward(self, x):
        return torch.cat([x, self.conv(self.sign(self.bn(x)))], dim=1)


class Transition(nn.Module):
    """Half the height and width, and fewer channels, in full precision."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x):
        return self.conv(torch.relu(functional.max_pool2d(self.bn(x), 2)))


class IgpResNet(BinaryNetwork):
    """IGP-ResNet ("Improved Gradient Propagation"): fractal blocks, `f_1 = conv`, `f_n+1(x) = conv(x) + f_n(f_n(x))`.

    stem        conv 3x3 (float) -> BN, max pool 2x2 if `pooled`
    4 stages    fractals of binary convolutions; from the second stage on behind mean 2x2 -> conv 1x1 (float) -> BN
    classifier  mean over the map -> dense (float)
    """

    def __init__(self, width, columns, blocks, classes, pooled=False):
        """`columns` of every fractal (3 make 7 convolutions), `blocks` of each of the four stages."""
        super().__init__()
        stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), *pool_of_stem(pooled))
        features, channels = [], width
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            if stage > 0:
                entry = nn.Conv2d(channels // 2, channels, 1, bias=False)
                features.append(nn.Sequential(nn.AvgPool2d(2), entry, nn.BatchNorm2d(channels)))
            features += [Fractal(channels, columns, True) for _ in range(count)]
        self.features = nn.Sequential(*features)
        self.head = nn.ModuleDict({"fc": nn.Linear(channels, classes)})

    def forward(self, x):
        return self.head["fc"](self.features(self.stem(x)).mean(dim=(2, 3)))


class Fractal(nn.Module):
    """`f_n`; the residual goes around the one convolution of each node that has more columns beside it."""

    def __init__(self, channels, columns, outermost=False):
        super().__init__()
        self.conv = FractalConvolution(channels, columns > 1 or outermost)
        self.a = Fractal(channels, columns - 1) if columns > 1 else None
        self.b = Fractal(channels, columns - 1) if columns > 1 else None

    def forward(self, x):
        y = self.conv(x)
        return y if self.a is None else y + self.b(self.a(x))


class FractalConvolution(nn.Module):
    """BN(bconv3x3(sign(x))), the weights scaled by their mean magnitude, with or without a residual."""

    def __init__(self, channels, residual):
        super().__init__()
        self.sign = Sign()
        self.conv = BinaryConvolution(channels, channels, 1, scaled=True)
        self.bn = nn.BatchNorm2d(channels)
        self.residual = residual

    def forward(self, x):
        y = self.bn(self.conv(self.sign(x)))
        return y + x if self.residual else y


class Steps(torch.autograd.Function):
    """The share of the thresholds that x reaches; its gradient is that of x limited to 0 to 1."""

    @staticmethod
    def forward(context, x, thresholds):
        context.save_for_backward(x)
        return sum((x >= threshold).to(x.dtype) for threshold in thresholds) / len(thresholds)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * ((x >= 0) & (x <= 1)), None


class Step(nn.Module):
    """{0, 1} for one threshold, {0, 1/2, 1} for two."""

    def __init__(self, *thresholds):
        super().__init__()
        self.thresholds = thresholds

    def forward(self, x):
        return Steps.apply(x, self.thresholds)


class Duplicate(nn.Module):
    """All channels, then all channels again."""

    def forward(self, x):
        return torch.cat([x, x], dim=1)


class DuoVgg7(BinaryNetwork, nn.Sequential):
    """BinaryDuo's VGG-7 (Kim et al. 2020, "BinaryDuo", sections 4.2 and 4.3) for pictures of 32x32.

    It is trained twice: coupled, with activations of three levels, and then decoupled, with two activations of two
    levels in the place of each. `decouple` is what lies between.

        conv 3x3 (float) | bconv 3x3, max pool 2x2 (three times) | bconv 4x4/4 | bconv 1x1 | BN, ReLU, conv 1x1 (float)
        behind each of the first five: (copies) -> BN -> activation
    """

    WIDTHS = (45, 45, 90, 90, 336, 512)

    def __init__(self, coupled, widths, classes):
        copies = 1 if coupled else 2

        def activate(width):
            activation = Step(0.25, 0.75) if coupled else Step(0.5)
            return [*([] if coupled else [Duplicate()]), nn.BatchNorm2d(copies * width), activation]

        layers = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False), *activate(widths[0])]
        for before, width in zip(widths[:3], widths[1:4], strict=True):
            layers += [BinaryConvolution(copies * before, width, 1, scaled=True), nn.MaxPool2d(2), *activate(width)]
        layers += [
            BinaryConvolution(copies * widths[3], widths[4], 4, size=4, padding=0, scaled=True),
            *activate(widths[4]),
            BinaryConvolution(copies * widths[4], widths[5], 1, size=1, padding=0, scaled=True),
            nn.BatchNorm2d(widths[5]),
            nn.ReLU(),
            nn.Conv2d(widths[5], classes, 1, bias=False),
            nn.Flatten(),
        ]
        super().__init__(*layers)


@torch.no_grad()
def decouple(coupled, decoupled):
    """Fills a decoupled network with the weights of a coupled one, so that both give the same answers.

    A value of three levels is the mean of two of two levels: the copies of a normalisation are moved apart by a
    quarter, to where the one threshold is, and weights that read both copies are halved.
    """
    layers = [[layer for layer in network if list(layer.parameters(recurse=False))] for network in (coupled, decoupled)]
    for source, target in zip(*layers, strict=True):
        own = target.state_dict()
        for name, values in source.state_dict().items():
            if values.shape != own[name].shape:
                if values.dim() > 1:
                    values = torch.cat([values, values], dim=1) / 2
                else:
                    apart = 0.25 if name == "bias" else 0.0
                    values = torch.cat([values - apart, values + apart])
            own[name].copy_(values)


def build_dense_net(width, classes, pooled=False):
    """BinaryDenseNet with the units of the paper's smallest, and transitions that keep half of the channels."""
    units, channels, transitions = (6, 6, 6, 5), 2 * width, []
    for count in units[:3]:
        channels = (channels + count * width) // 2
        transitions.append(channels)
    return BinaryDenseNet(units, width, 2 * width, transitions, classes, pooled)


def build_igp_resnet(width, classes, pooled=False):
    """IGP-ResNet with one block of seven convolutions a stage."""
    return IgpResNet(width, 3, (1, 1, 1, 1), classes, pooled)


def build_duo(coupled):
    """VGG-7 of BinaryDuo with the paper's proportions; its own width is 45."""

    def build(width, classes):
        widths = [max(1, round(paper * width / DuoVgg7.WIDTHS[0])) for paper in DuoVgg7.WIDTHS]
        return DuoVgg7(coupled, widths, classes)

    return build


# What --family knows: from the width and the number of classes to a network.
FAMILIES = {
    "resnete18": ResNetE18,
    "resnete18-full": lambda width, classes: ResNetE18(width, classes, pooled=False),
    "binary-dense-net": build_dense_net,
    "binary-dense-net-pooled": lambda width, classes: build_dense_net(width, classes, pooled=True),
    "igp-resnet": build_igp_resnet,
    "igp-resnet-pooled": lambda width, classes: build_igp_resnet(width, classes, pooled=True),
    "duo-vgg7-coupled": build_duo(True),
    "duo-vgg7": build_duo(False),
}
