"""The one session that all of them time: ONNX Runtime, one thread, the same input each time."""

from collections.abc import Callable


def load(path: str) -> Callable[[], object]:
    """Return a call that does one inference."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    feed = {given.name: np.random.default_rng(0).standard_normal(given.shape).astype(np.float32)}
    return lambda: session.run(None, feed)
