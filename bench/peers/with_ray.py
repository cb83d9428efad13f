"""Ray Data: ``map_batches`` with a pool of actors that have the model, ``write_csv``. Tables by readers of its own; files by their paths,
decoded in the actor, which is faster than ``read_images``. For work without data, actors of Ray that stay.

Actors take half a processor each, so that on a machine whose processors they would fill there is room for readers and writers. Four
blocks a processor: more would each be a task, and a file, with little in it.
"""

import argparse
import itertools
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
        self._options = options

    def __call__(self, batch: Dict[str, np.ndarray]) -> Dict[str, Any]:
        names = [os.path.relpath(path, self._options.input) for path in batch["item"]]
        decoded = [scoring.decode(path, self._options) for path in batch["item"]]
        rows = self._images.columns(names, decoded)
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
class Tasks:
    def nothing(self, path: str) -> str:
        return "x"

    def sums(self, paths: "list[str]", folder: str) -> "list[str]":
        return [scoring.sum_of(os.path.relpath(path, folder), path) for path in paths]


def data() -> Any:
    """What is read, by whom, and how many rows are a batch."""
    blocks = 4 * given.processes
    if given.kind == "csv":
        tables = ray.data.read_csv(given.input, include_paths=True, override_num_blocks=blocks)
        return tables, ScoreTables, "pandas", 16_384
    if given.kind == "parquet":
        tables = ray.data.read_parquet(given.input, include_paths=True, override_num_blocks=blocks)
        return tables, ScoreTables, "pandas", 16_384
    paths = ray.data.from_items(scoring.files_below(given.input), override_num_blocks=blocks)
    return paths, ScoreImages if given.kind == "images" else ScoreScript, "numpy", given.batch


def score(output: str) -> None:
    read, scorer, batch_format, batch_size = data()
    read.map_batches(
        scorer,
        fn_constructor_args=(given,),
        batch_format=batch_format,
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=given.processes),
        num_cpus=0.5,
    ).write_csv(output)


def score_tasks(output: str, actors: "list[Any]") -> None:
    paths = scoring.files_below(given.input)
    if given.kind == "nothing":
        lines = ray.get([actor.nothing.remote(path) for actor, path in zip(itertools.cycle(actors), paths)])
    else:
        batches = zip(itertools.cycle(actors), scoring.in_batches(paths, given.batch))
        lines = [line for sums in ray.get([actor.sums.remote(batch, given.input) for actor, batch in batches]) for line in sums]
    with open(os.path.join(output, "part-0.csv"), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def main() -> None:
    ray.init(num_cpus=given.processes, include_dashboard=False, logging_level="warning")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # The newer reader of Parquet passes over the number of blocks, and one task, and so one actor, has all files of this size.
    context.use_datasource_v2 = False
    try:
        if given.kind in ("nothing", "tiny"):
            actors = [Tasks.remote() for _ in range(given.processes)]
            scoring.serve(given, lambda output: score_tasks(output, actors))
        else:
            scoring.serve(given, score)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
