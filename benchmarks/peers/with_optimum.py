"""optimum-benchmark's ONNX Runtime backend in a process of its own, its defaults but for one thread. Prints JSON.

Its backend takes models of the Hugging Face hub alone: the file is given the names and the configuration of one. And
version 0.6.0 imports a name that its own dependency has dropped; the first lines give it back.
"""

import json
import sys
import tempfile
from pathlib import Path

import optimum.pipelines
from optimum.onnxruntime import ORTModelForImageClassification

optimum.pipelines.ORT_SUPPORTED_TASKS = {"image-classification": {"class": (ORTModelForImageClassification,)}}


def _dress(model: Path, folder: Path) -> None:
    """Write the network as an image classifier of the hub."""
    import onnx

    graph = (loaded := onnx.load(model)).graph
    names = {graph.input[0].name: "pixel_values", graph.output[0].name: "logits"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
    onnx.save(loaded, folder / "model.onnx")
    config = {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "num_channels": 3,
        "num_labels": 10,
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {"image_processor_type": "ConvNextImageProcessor", "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def _main() -> None:
    from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ProcessConfig
    from optimum_benchmark.backends.onnxruntime.config import ORTConfig

    with tempfile.TemporaryDirectory() as folder:
        _dress(Path(sys.argv[1]), Path(folder))
        backend = ORTConfig(
            model=folder,
            task="image-classification",
            library="transformers",
            device="cpu",
            provider="CPUExecutionProvider",
            export=False,
            no_weights=False,
            session_options={"intra_op_num_threads": 1},
        )
        shapes = {"batch_size": 1, "num_channels": 3, "height": 16, "width": 16}
        scenario = InferenceConfig(input_shapes=shapes)
        report = Benchmark.launch(BenchmarkConfig("yardstick", backend, scenario, ProcessConfig())).to_dict()
    latency = report["forward"]["latency"]
    print(json.dumps({"median_ns": 1e9 * float(latency["p50"]), "mean_ns": 1e9 * float(latency["mean"])}))


if __name__ == "__main__":
    _main()
