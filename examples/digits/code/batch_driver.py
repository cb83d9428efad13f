"""Scores images of handwritten digits: one row (file, label, probability) for each file."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image

session: onnxruntime.InferenceSession


def init() -> None:
    """Runs once in each scoring process, so that the model is not loaded again for each mini-batch."""
    global session
    options = onnxruntime.SessionOptions()
    # Several scoring processes share a machine; one thread each, so they do not fight over the cores.
    options.intra_op_num_threads = 1
    model = Path(os.environ["AZUREML_MODEL_DIR"]) / "digits.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def read_image(path: str) -> np.ndarray:
    # "L" is 8-bit grey, whatever the file holds. The network wants 0..255 and scales it itself.
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"), dtype=np.float32)
    if pixels.shape != (28, 28):
        raise ValueError(f"{path}: the network wants 28x28 pixels, this image has {pixels.shape[1]}x{pixels.shape[0]}")
    return pixels


def run(mini_batch: list[str]) -> pd.DataFrame:
    # One call for the whole mini-batch: many small calls would spend their time outside the network.
    images = np.stack([read_image(path) for path in mini_batch])[:, np.newaxis]
    (probabilities,) = session.run(["probabilities"], {"image": images})
    return pd.DataFrame(
        {
            # Rows of different mini-batches meet in one file; the name says which image a row belongs to.
            "file": [os.path.basename(path) for path in mini_batch],
            "label": probabilities.argmax(axis=1),
            "probability": probabilities.max(axis=1),
        }
    )
