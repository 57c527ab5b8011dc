#!/usr/bin/env python3
"""Makes the small networks of this folder: narrow members of every family with random, calibrated weights, and what the
reference models (PyTorch, float) answer to a few pictures.

    ./make.py FOLDER_THAT_HOLDS_refmodels [NAME...]

NAME.weights.safetensors holds the weights in f16, NAME.golden.safetensors inputs, logits, and for some networks input and output
of their blocks. A large picture is not stored but made by a formula, `noise`, that the tests know too.
"""
import copy
import hashlib
import os
import sys

import torch
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, sys.argv[1])
from refmodels import export, nets  # noqa: E402
from refmodels.layers import BinConv2d, BinLinear, Sign, Step01, Ternary01  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


class Small(nn.Module):
    """Layers in a row under the names of a network whose class has no widths to choose."""

    def __init__(self, rectify=False, **parts):
        super().__init__()
        self.parts, self.rectify = list(parts), rectify
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        for name in self.parts:
            if self.rectify and name == "head":
                x = torch.relu(x)
            x = getattr(self, name)(x)
        return x


def real_to_binary(c):
    stem = nn.Sequential(nn.Conv2d(3, c, 7, 2, 3, bias=False), nets.BN(c), nn.PReLU(c), nn.MaxPool2d(3, 2, 1))
    units, width = [], c
    for stage in range(4):
        units.append(nets.R2BUnit(width, c << stage, 2 if stage else 1))
        width = c << stage
    return Small(stem=stem, layers=nn.Sequential(*units), head=nets.GAPHead(width, 10))


def react_net_a(widths):
    layers = [nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nets.BN(widths[0]))]
    for index, (a, b) in enumerate(zip(widths, widths[1:])):
        layers.append(nets.ReActA(a, b, 2 if a != b and index else 1))
    return Small(feature=nn.Sequential(*layers), head=nets.GAPHead(widths[-1], 10))


def hyper_resnet_50(c):
    stem = nn.Sequential(nn.Conv2d(3, c, 7, 2, 3, bias=False), nets.BN(c), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    units, width = [], c
    for stage, count in enumerate((1, 2, 1, 1)):
        for index in range(count):
            units.append(nets.HBBottleneck(width, c << stage, 2 if stage and not index else 1))
            width = 4 * c << stage
    return Small(rectify=True, stem=stem, layers=nn.Sequential(*units), head=nets.GAPHead(width, 10))


def duo_vgg_7(widths, coupled, binary):
    copies = 1 if coupled else 2
    activation = Ternary01 if coupled else Step01

    def conv(i, o, k=3, s=1, p=1):
        return BinConv2d(i, o, k, s, p, scale="layer") if binary else nn.Conv2d(i, o, k, s, p, bias=False)

    def tail(c):
        return ([nets.Dup()] if copies == 2 else []) + [nets.BN(c * copies), activation()]

    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)] + tail(widths[0])
    for i in (1, 2, 3):
        layers += [conv(widths[i - 1] * copies, widths[i]), nn.MaxPool2d(2, 2)] + tail(widths[i])
    layers += [conv(widths[3] * copies, widths[4], 4, 4, 0)] + tail(widths[4])
    layers += [conv(widths[4] * copies, widths[5], 1, 1, 0), nets.BN(widths[5]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[5], 10, 1, bias=False), nn.Flatten())


def duo_alexnet(widths):
    def tail(c):
        return [nets.Dup(), nets.BN(2 * c), Step01()]

    def conv(i, o, k, s, p):
        return BinConv2d(2 * i, o, k, s, p, scale="layer")

    w = widths
    layers = [nn.Conv2d(3, w[0], 11, 4, 2, bias=False), nn.MaxPool2d(3, 2)] + tail(w[0])
    layers += [conv(w[0], w[1], 5, 1, 2), nn.MaxPool2d(3, 2)] + tail(w[1])
    layers += [conv(w[1], w[2], 3, 1, 1)] + tail(w[2]) + [conv(w[2], w[3], 3, 1, 1)] + tail(w[3])
    layers += [conv(w[3], w[4], 3, 1, 1), nn.MaxPool2d(3, 2)] + tail(w[4]) + [conv(w[4], w[5], 6, 6, 0)] + tail(w[5])
    layers += [conv(w[5], w[6], 1, 1, 0), nets.BN(w[6]), nn.ReLU(), nn.Conv2d(w[6], 10, 1, bias=False), nn.Flatten()]
    return nn.Sequential(*layers)


def conv_net(widths, dense, kind, ends):
    activation = nn.PReLU if kind == "real" else Sign
    first = BinConv2d(3, widths[0], 3) if ends else nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
    layers = [first, nets.BN(widths[0])]
    for i, pool in enumerate((1, 0, 1, 0, 1)):
        a, b = widths[i], widths[i + 1]
        layers += [nets.DPConv2d(a, b)] if kind == "dp" else [activation(), BinConv2d(a, b, 3)]
        layers += ([nn.MaxPool2d(2, 2)] if pool else []) + [nets.BN(b)]
    layers += [activation(), nn.Flatten(), BinLinear(widths[5] * 4, dense), nn.BatchNorm1d(dense)]
    layers += [activation(), BinLinear(dense, dense), nn.BatchNorm1d(dense)]
    if ends:
        layers += [activation(), BinLinear(dense, 10), nn.BatchNorm1d(10, affine=False)]
    else:
        layers += [nn.ReLU(), nn.Linear(dense, 10)]
    return nn.Sequential(*layers)


def binary_alexnet(widths, dense):
    def conv(i, o, k, s, p, pool, first=False):
        signs = [] if first else [Sign()]
        return signs + [BinConv2d(i, o, k, s, p)] + ([nn.MaxPool2d(3, 2)] if pool else []) + [nets.BN(o)]

    w = widths
    layers = conv(3, w[0], 11, 4, 2, True, True) + conv(w[0], w[1], 5, 1, 2, True) + conv(w[1], w[2], 3, 1, 1, False)
    layers += conv(w[2], w[3], 3, 1, 1, False) + conv(w[3], w[4], 3, 1, 1, True) + [nn.Flatten()]
    for i, o in ((36 * w[4], dense[0]), (dense[0], dense[1]), (dense[1], 10)):
        layers += [Sign(), BinLinear(i, o), nn.BatchNorm1d(o)]
    return nn.Sequential(*layers)


def xnor_alexnet(w):
    unit = nets.XnorUnit
    layers = [nn.Conv2d(3, w[0], 11, 4, 2, bias=False), nets.BN(w[0], eps=1e-5), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [unit(w[0], w[1], 5), nn.MaxPool2d(3, 2), unit(w[1], w[2], 3), unit(w[2], w[3], 3), unit(w[3], w[4], 3)]
    layers += [nn.MaxPool2d(3, 2), unit(w[4], w[5], 6, 1, 0), unit(w[5], w[6], 1, 1, 0), nets.BN(w[6], eps=1e-3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(w[6], 10))


def dense_net(units=(1, 2, 1, 1), **rest):
    rest = dict(dict(growth=6, c0=10, classes=10, cifar=True, ts=(12, 9, 14)), **rest)
    return nets.BinaryDenseNet(units, **rest)


def pre_activation(make, **rest):
    return nets.QResNet18(make, classes=10, c=3, cifar=True, **rest)


def hyper(kind="fp1", **rest):
    return nets.HBResNet((1, 1, 1, 1), c=4, classes=10, cifar=True, kind=kind, **rest)


def igp(**rest):
    return nets.IGPResNet(2, 3, classes=10, cifar=True, **rest)


ONE = (1, 1, 1, 1)
# Name, side of the pictures, network.
CASES = {
    "bi_real": (16, lambda: nets.BiRealNet(ONE, 6, 10, True)),
    "bi_real_large_stem": (64, lambda: nets.BiRealNet(ONE, 5, 10)),
    "bi_real_layer_scale": (16, lambda: nets.BiRealNet((1, 2, 1, 1), 4, 10, True, scale="layer")),
    "react_net": (16, lambda: nets.BiRealNet(ONE, 6, 10, True, react=True)),
    "react_net_a": (64, lambda: react_net_a([6, 12, 24, 24, 48])),
    "resnet_e": (16, lambda: nets.ResNetE(ONE, 6, 10, True)),
    "resnet_e_binary_shortcuts": (16, lambda: nets.ResNetE(ONE, 6, 10, True, fp_down=False)),
    "resnet_e_minus_padding": (64, lambda: nets.ResNetE(ONE, 5, 10, pad_value=-1)),
    "resnet_e_version_2": (16, lambda: nets.ResNetE2(ONE, 6, 10, True)),
    "resnet_e_version_2_binary_shortcuts": (16, lambda: nets.ResNetE2(ONE, 6, 10, True, fp_down=False)),
    "binary_dense_net": (16, dense_net),
    "binary_dense_net_large_stem": (64, lambda: dense_net(cifar=False)),
    "binary_dense_net_dilated": (32, lambda: dense_net(dil=(1, 1, 2, 4))),
    "binary_dense_net_binary_transitions": (16, lambda: dense_net(fp_down=False)),
    "binary_dense_net_minus_padding": (16, lambda: dense_net(pad_value=-1)),
    "binary_dense_net_split": (16, lambda: dense_net(split=2)),
    "igp_dense_net": (16, lambda: dense_net(unit=nets.IGPDenseUnit)),
    "igp_resnet": (16, igp),
    "igp_resnet_rectified": (16, lambda: igp(relu=True)),
    "igp_resnet_residual_everywhere": (16, lambda: igp(residual="unit")),
    "gp_resnet": (16, lambda: igp(residual=None)),
    "duo_vgg_7": (32, lambda: duo_vgg_7([5, 5, 7, 9, 11, 13], False, True)),
    "duo_vgg_7_coupled": (32, lambda: duo_vgg_7([5, 5, 7, 9, 11, 13], True, True)),
    "duo_vgg_7_float_weights": (32, lambda: duo_vgg_7([5, 5, 7, 9, 11, 13], False, False)),
    "duo_alexnet": (224, lambda: duo_alexnet([4, 5, 6, 5, 4, 20, 16])),
    "duo_resnet": (64, lambda: nets.DuoResNet18(False, False, 10, (4, 5, 6, 7), 9)),
    "duo_resnet_coupled": (64, lambda: nets.DuoResNet18(True, False, 10, (4, 5, 6, 7), 9)),
    "duo_resnet_more_shortcuts": (64, lambda: nets.DuoResNet18(False, True, 10, (4, 5, 6, 7), 9)),
    "duo_resnet_more_shortcuts_coupled": (64, lambda: nets.DuoResNet18(True, True, 10, (4, 5, 6, 7), 9)),
    "conv_net": (16, lambda: conv_net([8, 8, 10, 10, 12, 12], 20, "binary", True)),
    "conv_net_float_ends": (16, lambda: conv_net([8, 8, 10, 10, 12, 12], 20, "binary", False)),
    "conv_net_depth_preserving": (16, lambda: conv_net([8, 8, 10, 10, 12, 12], 20, "dp", False)),
    "conv_net_real": (16, lambda: conv_net([8, 8, 10, 10, 12, 12], 20, "real", False)),
    "binary_alexnet": (224, lambda: binary_alexnet([6, 7, 8, 8, 2], [20, 20])),
    "binary_resnet": (16, lambda: nets.BNNResNet18(10, True, 3)),
    "xnor_resnet": (16, lambda: pre_activation(nets.mk_xnor)),
    "xnor_resnet_binary_shortcuts": (16, lambda: pre_activation(nets.mk_xnor, down=lambda i, o: nets.XnorUnit(i, o, 1, 2, 0))),
    "xnor_alexnet": (224, lambda: xnor_alexnet([4, 6, 6, 6, 5, 20, 16])),
    "bwn_resnet": (16, lambda: pre_activation(nets.mk_bwn)),
    "tbn_resnet": (16, lambda: pre_activation(nets.mk_tbn, down=nets.bin1x1_down)),
    "abc_resnet": (16, lambda: pre_activation(nets.mk_abc(3, 2))),
    "dorefa_resnet": (16, lambda: pre_activation(nets.mk_dorefa(4))),
    "horq_resnet": (16, lambda: pre_activation(nets.mk_horq)),
    "float_resnet": (16, lambda: pre_activation(nets.mk_fp)),
    "real_to_binary": (64, lambda: real_to_binary(8)),
    "hyper_resnet": (16, hyper),
    "hyper_resnet_binary_weights_3": (16, lambda: hyper("wb3")),
    "hyper_resnet_binary_weights_5": (16, lambda: hyper("wb5")),
    "hyper_resnet_binary_shortcuts": (16, lambda: hyper("fb3")),
    "hyper_resnet_real": (16, lambda: hyper("wb3", act_bin=False)),
    "hyper_resnet_plain": (16, lambda: hyper(dp=False)),
    "hyper_resnet_50": (64, lambda: hyper_resnet_50(4)),
    "hyper_shuffle_net": (16, lambda: nets.HBShuffleNet(10, 2, (40, 56, 80), (1, 2, 1))),
    "ssd": (128, lambda: nets.SSD512(dense_net((1, 1, 1, 1), cifar=False, ts=(8, 8, 8)), classes=3, filters=(3, 3, 3, 3))),
}


# Networks whose blocks are compared one by one.
WITH_BLOCKS = {"bi_real", "binary_dense_net", "igp_dense_net", "tbn_resnet", "horq_resnet", "hyper_resnet"}


def noise(seed, size):
    """Exact in f32: a hash of position and seed, top eight bits, as -2 to 2."""
    position = torch.arange(3 * size * size, dtype=torch.int64) + seed * 1_000_003
    value = (position * 2654435761) % (1 << 32)
    value = ((value ^ (value >> 15)) * 2246822519) % (1 << 32)
    return ((value >> 24).float() / 64 - 2).view(1, 3, size, size)


def robust_noise(model, size):
    """The first noise picture for which single and double precision take the same decisions."""
    double = copy.deepcopy(model).double()
    for seed in range(1, 60):
        picture = noise(seed, size)
        flips, _ = export.flips(model, double, picture)
        if flips == 0:
            break
    return picture, [flips], seed


def make(name):
    size, build = CASES[name]
    for attempt in range(40):
        seed = int(hashlib.sha256(f"{name}/{attempt}".encode()).hexdigest()[:8], 16)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        model = build()
        export.randomise(model, generator)
        export.calibrate(model, size, generator, n=24, rounds=1)
        with torch.no_grad():
            for tensor in list(model.parameters()) + [b for b in model.buffers() if b.is_floating_point()]:
                tensor.copy_(tensor.half().float())
        if size <= 32:
            images, flips, _, _ = export.robust_images(model, size, generator, 2, 4)
        else:
            images, flips, picture = robust_noise(model, size)
        if max(flips) == 0:
            break
    taken = {}
    hooks = []
    modules = dict(model.named_modules())
    for tap in export.taps(model, 3) if name in WITH_BLOCKS else []:
        def hook(_, given, result, tap=tap):
            taken["tapin." + tap], taken["tap." + tap] = given[0].detach().clone(), result.detach().clone()
        hooks.append(modules[tap].register_forward_hook(hook))
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(weights, os.path.join(HERE, f"{name}.weights.safetensors"))
    golden = {"logits": logits.contiguous()}
    if size <= 32:
        golden["input_f32"] = images.contiguous()
    else:
        golden["noise"] = torch.tensor([picture])
    golden.update({key: value[:1].contiguous() for key, value in taken.items()})
    path = os.path.join(HERE, f"{name}.golden.safetensors")
    save_file(golden, path)
    total = sum(os.path.getsize(os.path.join(HERE, f"{name}.{kind}.safetensors")) for kind in ("weights", "golden"))
    print(f"{name}: {total} bytes, {sum(v.numel() for v in weights.values())} numbers, flips {flips}, attempt {attempt}, "
          f"std {float(logits.std()):.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for chosen in sys.argv[2:] or CASES:
        make(chosen)
