"""Ray Data: readers of its own, ``map_batches`` with a pool of actors that have the model, ``write_csv``. For work without data, Ray's
tasks.

Actors take half a processor each, so that on a machine whose processors they would fill there is room for the readers.
"""

import argparse
import os
from typing import Any, Dict

import scoring
import numpy as np
import pandas as pd
import ray

given = scoring.options()


class ScoreImages:
    def __init__(self, options: argparse.Namespace) -> None:
        self._images = scoring.Images(options)
        self._input = options.input

    def __call__(self, batch: Dict[str, np.ndarray]) -> Dict[str, Any]:
        names = [os.path.relpath(path, self._input) for path in batch["path"]]
        rows = self._images.columns(names, list(batch["image"]))
        return {name: np.asarray(column) for name, column in rows.items()}


class ScoreTables:
    def __init__(self, options: argparse.Namespace) -> None:
        self._tables = scoring.Tables(options.model)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        paths = batch.pop("path")
        names = paths.map({path: os.path.basename(path) for path in paths.unique()})
        return pd.DataFrame({"file": names, "score": self._tables.scores(batch.to_numpy())})


class ScoreScript:
    def __init__(self, options: argparse.Namespace) -> None:
        self._script = scoring.script(options.model)

    def __call__(self, batch: Dict[str, np.ndarray]) -> pd.DataFrame:
        return self._script.run(list(batch["item"]))


@ray.remote
def nothing(path: str) -> str:
    return "x"


@ray.remote
def sums(paths: "list[str]", folder: str) -> "list[str]":
    return [scoring.sum_of(os.path.relpath(path, folder), path) for path in paths]


def data() -> Any:
    """What is read, by whom, and how many rows are a batch."""
    if given.kind == "images":
        mode = "L" if given.channels == 1 else "RGB"
        size = None if given.channels == 1 else (given.side, given.side)
        images = ray.data.read_images(given.input, mode=mode, size=size, include_paths=True)
        return images, ScoreImages, "numpy", given.batch
    if given.kind == "csv":
        return ray.data.read_csv(given.input, include_paths=True), ScoreTables, "pandas", 16_384
    if given.kind == "parquet":
        return ray.data.read_parquet(given.input, include_paths=True), ScoreTables, "pandas", 16_384
    return ray.data.from_items(scoring.files_below(given.input)), ScoreScript, "numpy", given.batch


def score(output: str) -> None:
    if given.kind in ("nothing", "tiny"):
        score_tasks(output)
        return
    read, scorer, batch_format, batch_size = data()
    read.map_batches(
        scorer,
        fn_constructor_args=(given,),
        batch_format=batch_format,
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=given.processes),
        num_cpus=0.5,
    ).write_csv(output)


def score_tasks(output: str) -> None:
    paths = scoring.files_below(given.input)
    if given.kind == "nothing":
        lines = ray.get([nothing.remote(path) for path in paths])
    else:
        batches = [sums.remote(batch, given.input) for batch in scoring.in_batches(paths, given.batch)]
        lines = [line for batch in ray.get(batches) for line in batch]
    with open(os.path.join(output, "part-0.csv"), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def main() -> None:
    ray.init(num_cpus=given.processes, include_dashboard=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        scoring.serve(given, score)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
