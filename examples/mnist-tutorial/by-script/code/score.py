"""Reads handwritten digits: one row, file and digit, for each file."""

import os

import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image

network = None


def init():
    """Runs once in each scoring process."""
    global network
    folder = os.environ["AZUREML_MODEL_DIR"]
    # What was registered is one file, whatever its name.
    (model,) = [name for name in os.listdir(folder) if name.endswith(".onnx")]
    options = onnxruntime.SessionOptions()
    # The processes of a machine share its cores.
    options.intra_op_num_threads = 1
    network = onnxruntime.InferenceSession(os.path.join(folder, model), options, providers=["CPUExecutionProvider"])


def run(mini_batch):
    """Gets paths, gives a row for each."""
    pixels = np.stack([np.asarray(Image.open(path).convert("L"), dtype=np.float32) for path in mini_batch])
    (scores,) = network.run(["logits"], {"image": pixels[:, None]})
    return pd.DataFrame({"file": [os.path.basename(path) for path in mini_batch], "digit": scores.argmax(axis=1)})
