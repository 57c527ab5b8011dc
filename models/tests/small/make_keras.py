#!/usr/bin/env python3
"""Makes the small networks of this folder whose names and layouts are those of Keras: narrow relatives of larq zoo's networks,
written with larq's layers, with random weights, and what Keras answers to a picture.

    ./make_keras.py [NAME...]

Files are as those of make.py. The picture is that of `noise`, which the tests know too. Needs tensorflow, larq, safetensors.
"""
import hashlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import larq as lq  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
layers = tf.keras.layers


def noise(seed, size):
    """The picture of make.py: a hash of position and seed, top eight bits, as -2 to 2; here height, width, channel."""
    position = np.arange(3 * size * size, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    value = (position * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    value = ((value ^ (value >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    picture = (value >> np.uint64(24)).astype(np.float32) / 64 - 2
    return picture.reshape(1, 3, size, size).transpose(0, 2, 3, 1)


def conv(x, width, kernel, **rest):
    return layers.Conv2D(width, kernel, padding="same", use_bias=False, **rest)(x)


def bconv(x, width, kernel, quantizer="ste_sign", first=False, **rest):
    rest = dict(dict(padding="same", use_bias=False), **rest)
    signs = None if first else "ste_sign"
    return lq.layers.QuantConv2D(width, kernel, input_quantizer=signs, kernel_quantizer=quantizer, **rest)(x)


def bi_real(x):
    x = conv(x, 6, 7, strides=2)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPool2D(3, strides=2, padding="same")(x)
    for stage in range(4):
        width, stride = 6 << stage, 2 if stage else 1
        around = x
        if stage:
            around = layers.AvgPool2D(2, padding="same")(around)
            around = layers.BatchNormalization()(conv(around, width, 1))
        x = bconv(x, width, 3, "magnitude_aware_sign", strides=stride)
        x = layers.add([layers.BatchNormalization()(x), around])
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def alexnet(x):
    pool = layers.MaxPool2D(3, strides=2)

    def norm(x):
        return layers.BatchNormalization(scale=False)(x)

    x = norm(pool(bconv(x, 6, 11, first=True, strides=4)))
    x = norm(pool(bconv(x, 7, 5)))
    x = norm(bconv(x, 8, 3))
    x = norm(bconv(x, 8, 3))
    x = norm(pool(bconv(x, 3, 3)))
    x = layers.Reshape((1, 1, 6 * 6 * 3))(x)
    for width in (20, 20, 10):
        x = norm(bconv(x, width, 1))
    return layers.Flatten()(x)


def dorefa(x):
    def quantised(layer, *sizes, **rest):
        bits = lq.quantizers.DoReFa(k_bit=2, mode="activations")
        return layer(*sizes, input_quantizer=bits, kernel_quantizer=layer_scale, use_bias=False, **rest)

    def norm(x):
        return layers.BatchNormalization(scale=False, epsilon=1e-4)(x)

    x = layers.Conv2D(5, 12, strides=4)(x)
    for index, (width, kernel) in enumerate(((6, 5), (8, 3), (8, 3), (3, 3))):
        x = norm(quantised(lq.layers.QuantConv2D, width, kernel, padding="same")(x))
        if index != 2:
            x = layers.MaxPool2D(3, strides=2, padding="same" if index < 2 else "valid")(x)
    x = layers.Flatten()(x)
    for width in (20, 18):
        x = norm(quantised(lq.layers.QuantDense, width)(x))
    return layers.Dense(10)(tf.clip_by_value(x, 0, 1))


@lq.utils.set_precision(1)
def layer_scale(kernel):
    return lq.math.sign(kernel) * tf.reduce_mean(tf.abs(kernel))


# Name, side of the picture, network, and a number of layers that are there before (numbers go on from them).
CASES = {
    "keras_bi_real": (64, bi_real, 2),
    "keras_alexnet": (224, alexnet, 0),
    "keras_dorefa_net": (224, dorefa, 11),
}


def randomise(model, generator, size):
    """Random numbers for everything; statistics of normalisations near those of the pictures."""
    normalisations = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in model.layers:
        for variable in layer.weights:
            if "kernel" in variable.name:
                scale = generator.uniform(0.3, 1.0, variable.shape[-1])
                variable.assign((generator.normal(size=variable.shape) + 0.03) * scale / np.sqrt(np.prod(variable.shape[:-1])))
            elif "bias" in variable.name or "beta" in variable.name:
                variable.assign(generator.normal(size=variable.shape) * 0.4)
            elif "gamma" in variable.name:
                gamma = generator.uniform(0.4, 1.6, variable.shape) * np.where(generator.random(variable.shape) < 0.15, -1, 1)
                gamma[generator.random(variable.shape) < 0.04] = 0
                variable.assign(gamma)
    for layer in normalisations:
        layer.momentum = 0.0
    model(np.concatenate([noise(seed, size) for seed in range(100, 108)]), training=True)
    for layer in normalisations:
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        layer.moving_mean.assign(mean + np.sqrt(variance) * generator.normal(size=mean.shape) * 0.02)
        layer.moving_variance.assign((variance + 0.02 * variance.mean()) * generator.uniform(0.8, 1.25, mean.shape))
    for variable in model.weights:
        variable.assign(variable.numpy().astype(np.float16).astype(np.float32))


def make(name):
    size, build, before = CASES[name]
    tf.keras.backend.clear_session()
    for _ in range(before):
        for layer in (layers.Conv2D(1, 1), layers.BatchNormalization(), layers.Dense(1), lq.layers.QuantConv2D(1, 1)):
            layer.build((1, 1, 1, 1))
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    generator = np.random.default_rng(seed)
    tf.keras.utils.set_random_seed(seed)
    given = layers.Input((size, size, 3))
    model = tf.keras.Model(given, build(given))
    randomise(model, generator, size)
    picture = 1
    logits = model(noise(picture, size), training=False).numpy()
    # A network that says the same of every picture would compare nothing.
    other = model(noise(picture + 1, size), training=False).numpy()
    assert np.abs(logits - other).mean() > 0.1 * logits.std(), name
    weights = {variable.name: variable.numpy().astype(np.float16) for variable in model.weights}
    save_file(weights, os.path.join(HERE, f"{name}.weights.safetensors"))
    golden = {"logits": logits, "noise": np.array([picture], dtype=np.int64)}
    save_file(golden, os.path.join(HERE, f"{name}.golden.safetensors"))
    total = sum(os.path.getsize(os.path.join(HERE, f"{name}.{kind}.safetensors")) for kind in ("weights", "golden"))
    print(f"{name}: {total} bytes, {model.count_params()} numbers, std {logits.std():.3f}, {sorted(weights)[:3]}", flush=True)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    for chosen in sys.argv[1:] or CASES:
        make(chosen)
