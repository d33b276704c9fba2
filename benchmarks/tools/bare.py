"""A bare loop around a runtime, for those that bring no tool: `python bare.py RUNTIME FILE INPUT.npy SECONDS` prints JSON.

Nothing of the harness is imported: this is what somebody would write who only wants a number. One thread.
"""

import json
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

WARM = 0.5  # of the seconds: spent on warming up beforehand


def onnxruntime(file, given):
    """ONNX Runtime as its documentation shows it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: given}
    return lambda: session.run(None, feed)


def ncnn(file, given):
    """ncnn's Python example: a new extractor each time. The arithmetic is pinned to float32, which ncnn would not do."""
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = 1
    network.opt.use_vulkan_compute = False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(network.opt, "use_" + name, False)
    with zipfile.ZipFile(file) as packed, tempfile.TemporaryDirectory() as folder:
        packed.extractall(folder)
        assert network.load_param(str(Path(folder) / "net.param")) == 0
        assert network.load_model(str(Path(folder) / "net.bin")) == 0
    into, out = network.input_names()[0], network.output_names()[0]
    mat = ncnn.Mat(given[0]).clone()

    def infer():
        extractor = network.create_extractor()
        extractor.input(into, mat)
        return extractor.extract(out)

    return infer


def executorch(file, given):
    """ExecuTorch's Python runtime as its documentation shows it."""
    import torch
    from executorch.extension.pybindings import _C

    _C._unsafe_reset_threadpool(1)
    program = _C._load_program(file)
    method = program.load_method("forward")
    inputs = (torch.from_numpy(given),)

    def infer():
        return method(inputs)

    infer.keeps = program
    return infer


def litert(file, given):
    """LiteRT's interpreter as its documentation shows it."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]
    if place["quantization"][0]:
        scale, zero = place["quantization"]
        given = (given / scale + zero).round().clip(-128, 127).astype(place["dtype"])
    interpreter.set_tensor(place["index"], given)
    return interpreter.invoke


def torch(file, given, seconds):
    """`torch.utils.benchmark`, PyTorch's own: the median of its blocks."""
    import torch
    from torch.utils.benchmark import Timer

    network, example = torch.export.load(file).module(), torch.from_numpy(given)
    with torch.inference_mode():
        timer = Timer("network(example)", globals={"network": network, "example": example}, num_threads=1)
        timer.timeit(20)
        return timer.blocked_autorange(min_run_time=seconds).median * 1e9


def main():
    """Load, warm up, time; print the median in ns."""
    import numpy

    name, file, source, seconds = *sys.argv[1:4], float(sys.argv[4])
    given = numpy.load(source)
    if name == "torch":
        median = torch(file, given, seconds)
    else:
        infer = globals()[name](file, given)
        _timed(infer, WARM * seconds)
        median = statistics.median(_timed(infer, seconds))
    print(json.dumps({"median_ns": median}))


def _timed(infer, seconds):
    latencies, clock = [], time.perf_counter_ns
    end = clock() + int(1e9 * seconds)
    while clock() < end:
        before = clock()
        infer()
        latencies.append(clock() - before)
    return latencies


if __name__ == "__main__":
    main()
