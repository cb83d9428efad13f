"""``multiprocessing.Pool``: a process a processor, each with the model loaded once by the initializer, chunks by ``imap_unordered``."""

import argparse
import multiprocessing
import os
from typing import Any, List, Optional, Sequence, Tuple

import scoring

given: argparse.Namespace
scorer: Any = None


def begin(options: argparse.Namespace) -> None:
    global given, scorer
    given = options
    if given.kind == "images":
        scorer = scoring.Images(given)
    elif given.kind in ("csv", "parquet"):
        scorer = scoring.Tables(given.model)
    elif given.kind == "script":
        scorer = scoring.script(given.model)


def score(task: Tuple[int, Any, str]) -> None:
    """Writes the rows of a chunk into a file of its own: sending them back to be written would copy them twice."""
    number, chunk, output = task
    with open(os.path.join(output, f"part-{number:05d}.csv"), "w", encoding="utf-8", newline="") as file:
        if given.kind == "images":
            import pandas

            images = [scoring.decode(path, given) for path in chunk]
            rows = pandas.DataFrame(scorer.columns([name_of(path) for path in chunk], images))
            rows.to_csv(file, header=False, index=False)
        elif given.kind == "script":
            scorer.run(list(chunk)).to_csv(file, header=False, index=False)
        elif given.kind == "nothing":
            file.write("x\n" * len(chunk))
        elif given.kind == "tiny":
            file.write("".join(f"{scoring.sum_of(name_of(path), path)}\n" for path in chunk))
        else:
            score_table(chunk, file)


def score_table(part: Tuple[str, int, int], file: Any) -> None:
    """Rows ``first`` to ``first + count`` of a table, or a row group of it."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    path, first, count = part
    if given.kind == "parquet":
        table = pyarrow.parquet.ParquetFile(path).read_row_group(first, use_threads=False)
        batches, row = [table], sum(groups_of(path)[:first])
    else:
        pyarrow.set_cpu_count(1)
        batches, row = pyarrow.csv.open_csv(path, pyarrow.csv.ReadOptions(use_threads=False, block_size=8_388_608)), 0
    file_column = name_of(path)
    for batch in batches:
        values = scorer.scores(batch.to_pandas().to_numpy())
        rows = pyarrow.table(
            {
                "file": pyarrow.array([file_column] * len(values)).dictionary_encode().cast(pyarrow.string()),
                "row": range(row, row + len(values)),
                "score": values,
            }
        )
        pyarrow.csv.write_csv(rows, UnclosedFile(file), pyarrow.csv.WriteOptions(include_header=False))
        row += len(values)


class UnclosedFile:
    """Takes bytes, and stays open behind a writer that closes what it has written to."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(bytes(data).decode())
        return len(data)

    def flush(self) -> None:
        pass


def groups_of(path: str) -> List[int]:
    import pyarrow.parquet

    metadata = pyarrow.parquet.ParquetFile(path).metadata
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def name_of(path: str) -> str:
    return os.path.relpath(path, given.input)


def chunks() -> Sequence[Any]:
    paths = scoring.files_below(given.input)
    if given.kind == "csv":
        # A file is a task: nobody tells a pool how to cut one. The largest are first, so that none is last.
        return [(path, 0, 0) for path in sorted(paths, key=os.path.getsize, reverse=True)]
    if given.kind == "parquet":
        return [(path, group, rows) for path in paths for group, rows in enumerate(groups_of(path))]
    return scoring.in_batches(paths, 1 if given.kind == "nothing" else given.batch)


def main() -> None:
    global given
    given = scoring.options()
    with multiprocessing.Pool(given.processes, initializer=begin, initargs=(given,)) as pool:

        def run(output: str) -> None:
            tasks = [(number, chunk, output) for number, chunk in enumerate(chunks())]
            for _ in pool.imap_unordered(score, tasks):
                pass

        scoring.serve(given, run)


if __name__ == "__main__":
    main()
