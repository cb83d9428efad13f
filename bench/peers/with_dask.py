"""Dask: a local cluster with a process of one thread for each processor. Tables by ``dask.dataframe`` and ``map_partitions``; files by
``client.map`` over batches, as its pages on many tasks advise. A model is loaded once in each process."""

import argparse
import functools
import os
from typing import Any, List

import scoring
import pandas as pd
from dask.distributed import Client, LocalCluster

given = scoring.options()


@functools.lru_cache(maxsize=1)
def images(_model: str, options: "Options") -> scoring.Images:
    return scoring.Images(options.given)


class Options:
    """What a process loads its model by: equal for the same model."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.given = options

    def __hash__(self) -> int:
        return hash(self.given.model)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Options) and other.given.model == self.given.model


@functools.lru_cache(maxsize=1)
def tables(model: str) -> scoring.Tables:
    return scoring.Tables(model)


@functools.lru_cache(maxsize=1)
def script(path: str) -> Any:
    return scoring.script(path)


def score_images(paths: List[str], options: Options) -> pd.DataFrame:
    names = [os.path.relpath(path, options.given.input) for path in paths]
    decoded = [scoring.decode(path, options.given) for path in paths]
    return pd.DataFrame(images(options.given.model, options).columns(names, decoded))


def score_script(paths: List[str], options: Options) -> pd.DataFrame:
    return script(options.given.model).run(list(paths))


def write(frame: pd.DataFrame, path: str) -> None:
    frame.to_csv(path, header=False, index=False)


def score_and_write(paths: List[str], options: Options, path: str) -> None:
    score = score_images if options.given.kind == "images" else score_script
    write(score(paths, options), path)


def score_part(part: pd.DataFrame, model: str) -> pd.DataFrame:
    names = part.pop("path").astype(str).map(os.path.basename)
    return pd.DataFrame({"file": names, "score": tables(model).scores(part.to_numpy())})


def nothing(path: str) -> str:
    return "x"


def sums(paths: List[str], folder: str) -> List[str]:
    return [scoring.sum_of(os.path.relpath(path, folder), path) for path in paths]


def score(client: Client, output: str) -> None:
    if given.kind in ("csv", "parquet"):
        score_tables(output)
        return
    paths = scoring.files_below(given.input)
    if given.kind in ("nothing", "tiny"):
        if given.kind == "nothing":
            lines = client.gather(client.map(nothing, paths, pure=False))
        else:
            batches = scoring.in_batches(paths, given.batch)
            lines = [line for batch in client.gather(client.map(sums, batches, folder=given.input, pure=False)) for line in batch]
        with open(os.path.join(output, "part-0.csv"), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        return
    batches = scoring.in_batches(paths, given.batch)
    parts = [os.path.join(output, f"part-{number:05d}.csv") for number in range(len(batches))]
    client.gather(client.map(score_and_write, batches, [Options(given)] * len(batches), parts, pure=False))


def score_tables(output: str) -> None:
    import dask.dataframe as dd

    paths = scoring.files_below(given.input)
    if given.kind == "csv":
        read = dd.read_csv(paths, blocksize="32MB", include_path_column=True)
    else:
        read = dd.concat(
            [dd.read_parquet(path, split_row_groups=True).assign(path=os.path.basename(path)) for path in paths]
        )
    meta = pd.DataFrame({"file": pd.Series(dtype="str"), "score": pd.Series(dtype="float32")})
    scored = read.map_partitions(score_part, given.model, meta=meta)
    scored.to_csv(os.path.join(output, "part-*.csv"), header=False, index=False)


def main() -> None:
    with LocalCluster(n_workers=given.processes, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            scoring.serve(given, lambda output: score(client, output))


if __name__ == "__main__":
    main()
