"""One engine with one network in a process of its own, so that its features of the processor can be hidden
and its memory measured.

    python worker.py ENGINE MODEL THREADS

First prints a line {"load_ms", "memory_mb"}; then for each line of standard input, a number of seconds,
runs the network that long and prints {"ms": [time of each run]}; for the line `answer` it prints
{"answer": [outputs for the first image]}.
"""

import json
import resource
import sys
import time

import numpy as np
from networks import images


def openvino_run(model, threads):
    import openvino

    start = time.perf_counter()
    # Without the hint processors with bf16 would use it, and give other answers.
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(images()))
    load = time.perf_counter() - start
    return load, request.infer, lambda: request.get_output_tensor(0).data


def onnxruntime_run(model, threads):
    import onnxruntime

    start = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    load = time.perf_counter() - start
    feed, results = {"x": images()}, []

    def run():
        results[:] = session.run(None, feed)

    return load, run, lambda: results[0]


def main():
    engine, model, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    load, run, answer = {"openvino": openvino_run, "onnxruntime": onnxruntime_run}[engine](model, threads)
    run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"load_ms": load * 1e3, "memory_mb": memory}), flush=True)
    for line in sys.stdin:
        if line.strip() == "answer":
            print(json.dumps({"answer": np.asarray(answer()).reshape(-1).tolist()}), flush=True)
            continue
        times, begin = [], time.perf_counter()
        while not times or time.perf_counter() - begin < float(line):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps({"ms": times}), flush=True)


if __name__ == "__main__":
    main()
