"""What the peers in Python share: their command line, and the same scoring code, so that they differ in what carries it alone."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, List, Sequence, Union

import numpy as np


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["images", "csv", "parquet", "script", "nothing", "tiny"])
    parser.add_argument("--input", required=True)
    parser.add_argument("--model", help="an ONNX model, or a scoring script")
    parser.add_argument("--side", type=int, help="pixels of an image")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--scores", help="the output that the label is taken from; none: there is no label")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output")
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


def serve(given: argparse.Namespace, score: Callable[[str], None]) -> None:
    """Once into ``--output``, or, with ``--serve``, into the folder of each line that comes."""
    if not given.serve:
        os.makedirs(given.output, exist_ok=True)
        score(given.output)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        os.makedirs(line.strip(), exist_ok=True)
        score(line.strip())
        print("done", flush=True)


def files_below(folder: str) -> List[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


def in_batches(items: Sequence[Any], count: int) -> List[Sequence[Any]]:
    return [items[at : at + count] for at in range(0, len(items), count)]


def session(model: str) -> Any:
    """One thread: there is a process, or an actor, for each processor."""
    import onnxruntime

    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    threads.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, threads, providers=["CPUExecutionProvider"])


class Images:
    """Images as arrays of bytes, all of one size, through a model; rows as columns."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._session = session(given.model)
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._given = given

    def columns(self, names: Sequence[str], images: Sequence[np.ndarray]) -> Dict[str, Any]:
        pixels = np.stack(images)
        if pixels.ndim == 3:
            pixels = pixels[:, None]
        elif self._given.channels == 1:
            pixels = pixels.transpose(0, 3, 1, 2)[:, :1]
        else:
            pixels = pixels.transpose(0, 3, 1, 2)
        cells = np.ascontiguousarray(pixels, dtype=np.float32) * np.float32(self._given.scale)
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, {self._input: cells})))
        rows: Dict[str, Any] = {"file": list(names)}
        if self._given.scores is not None:
            rows["label"] = outputs[self._given.scores].argmax(axis=1)
        for name, values in outputs.items():
            for column, cell in enumerate(values.reshape(len(names), -1).T):
                rows[f"{name}_{column}"] = cell
        return rows


def decode(source: Union[str, BinaryIO], given: argparse.Namespace) -> np.ndarray:
    """As a script with Pillow would. ``source``: a path, or an open file."""
    from PIL import Image

    with Image.open(source) as image:
        if given.channels == 3:
            # A JPEG is decoded at a half, a quarter or an eighth where that is enough.
            image.draft("RGB", (given.side, given.side))
            image = image.convert("RGB").resize((given.side, given.side), Image.Resampling.LANCZOS)
        else:
            image = image.convert("L")
        return np.asarray(image)


class Tables:
    """Rows of numbers through a model."""

    def __init__(self, model: str) -> None:
        self._session = session(model)
        self._input = self._session.get_inputs()[0].name

    def scores(self, values: np.ndarray) -> np.ndarray:
        cells = np.ascontiguousarray(values, dtype=np.float32)
        return self._session.run(None, {self._input: cells})[0].reshape(-1)


def script(path: str) -> Any:
    """A scoring script after its ``init()``."""
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(Path(path).stem)
    module.init()
    return module


def sum_of(name: str, path: str) -> str:
    """The line of a tiny file."""
    import zlib

    with open(path, "rb") as file:
        content = file.read()
    return f"{name} {len(content)} {zlib.crc32(content)}"
