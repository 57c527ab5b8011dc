"""python -m bnn_export: the command line."""

import argparse
import sys

from . import __version__, golden, network, state_dict
from .errors import ExportError


def numbers(text):
    return tuple(float(part) for part in text.split(","))


def shape(text):
    sizes = tuple(int(part) for part in text.split(","))
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise argparse.ArgumentTypeError("expected sizes, batch first: 1,3,224,224")
    return sizes


def parser():
    main = argparse.ArgumentParser(prog="python -m bnn_export", description=(
        "From a trained network to files that bnn-convert reads."))
    main.add_argument("--version", action="version", version=__version__)
    commands = main.add_subparsers(dest="command", required=True)

    def add_checkpoint(command):
        command.add_argument("--key", help="where the state lies in the checkpoint, as in ema/model")
        command.add_argument("--trusted", action="store_true",
                             help="run the code that a checkpoint may hold beside its tensors")

    command = commands.add_parser("state-dict", help="a checkpoint of PyTorch to safetensors")
    command.add_argument("checkpoint", metavar="FILE.pth")
    command.add_argument("-o", "--output", required=True, metavar="OUT.safetensors")
    command.add_argument("--strip", action="append", default=[], metavar="PREFIX",
                         help="take this away in front of names; repeatable")
    command.add_argument("--keep-wrappers", action="store_true",
                         help="keep the module. and _orig_mod. that wrappers put in front of all names")
    add_checkpoint(command)
    command.set_defaults(run=run_state_dict)

    def add_module(command):
        command.add_argument("module", metavar="MODULE",
                             help="package.module:name or file.py:name of a torch.nn.Module, or of "
                                  "something that returns one")
        command.add_argument("--argument", action="append", default=[], metavar="TEXT",
                             help="call MODULE with this; repeatable")
        command.add_argument("--weights", metavar="FILE.pth", help="fill the module from a checkpoint")
        add_checkpoint(command)

    command = commands.add_parser("onnx", help="a module of PyTorch to ONNX")
    add_module(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT.onnx")
    command.add_argument("--input-shape", required=True, type=shape, metavar="1,3,224,224")
    command.add_argument("--opset", type=int, help="operator set (default: 17, with --dynamo 18)")
    command.add_argument("--dynamo", action="store_true", help="use the exporter of torch.export")
    command.add_argument("--no-check", action="store_true", help="do not compare outputs")
    command.add_argument("--tolerance", type=float, default=1e-4, metavar="X",
                         help="largest difference, relative to the largest |output| of a row (1e-4)")
    command.add_argument("--allow-flips", type=int, default=0, metavar="N",
                         help="rows of the 8 compared that may miss it: a sign within rounding of zero")
    command.set_defaults(run=run_onnx)

    command = commands.add_parser("golden", help="inputs and outputs for bnn-convert --verify",
                                  description="MODULE may be an ONNX file here.")
    add_module(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT.safetensors")
    command.add_argument("--images", required=True, metavar="DATA",
                         help="u8 [N, H, W, C] in .npy, .npz or .safetensors, or a folder of pictures")
    command.add_argument("--count", type=int, default=64, help="at most so many images (64)")
    command.add_argument("--mean", type=numbers, default=(0.0,), metavar="R,G,B")
    command.add_argument("--std", type=numbers, default=(1.0,), metavar="R,G,B")
    command.add_argument("--range", type=float, default=1.0, choices=(1.0, 255.0))
    command.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw",
                         help="where the network wants the channels (nchw)")
    command.set_defaults(run=run_golden)
    return main


def build(arguments):
    module = network.build(arguments.module, arguments.argument)
    if arguments.weights:
        network.load_weights(module, arguments.weights, arguments.key, arguments.trusted)
    return module


def run_state_dict(arguments):
    count, elements = state_dict.convert(arguments.checkpoint, arguments.output, arguments.key,
                                         arguments.strip, arguments.keep_wrappers, arguments.trusted)
    print(f"{arguments.output}: {count} tensors, {elements} elements")


def run_onnx(arguments):
    module = build(arguments)
    network.export(module, arguments.input_shape, arguments.output, arguments.opset, arguments.dynamo)
    if arguments.no_check:
        print(f"{arguments.output}: not compared with the module")
        return
    check = network.check(module, arguments.input_shape, arguments.output, arguments.tolerance)
    compared = (f"{check.rows - check.beyond} of {check.rows} rows within {check.tolerance:g} in "
                f"{check.runtime}, largest difference {check.largest:.3g}")
    if check.beyond > arguments.allow_flips:
        raise ExportError(f"{arguments.output}: differs from the module: {compared}")
    print(f"{arguments.output}: {compared}")


def run_golden(arguments):
    pixels, labels = golden.read_images(arguments.images, arguments.count)
    inputs = golden.normalised(pixels, arguments.mean, arguments.std, arguments.range, arguments.layout)
    if arguments.module.endswith(".onnx"):
        logits = golden.onnx_outputs(arguments.module, inputs)
    else:
        logits = golden.module_outputs(build(arguments), inputs)
    for remark in golden.write(arguments.output, inputs, logits, pixels, labels):
        print(f"warning: {remark}", file=sys.stderr)
    right = "" if labels is None else f", {int((logits.reshape(len(labels), -1).argmax(1) == labels).sum())} right"
    print(f"{arguments.output}: {len(inputs)} images{right}")


def main(arguments=None):
    arguments = parser().parse_args(arguments)
    try:
        arguments.run(arguments)
    except ExportError as error:
        print(f"bnn_export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
