"""Daft: readers of its own, a class with a batch method that has the model (``@daft.cls``), ``write_csv``. Its own engine on this
machine; it chooses by itself whether the class runs in processes. Its own decoder for pictures of the right size; photographs are
decoded in the class, as Pillow need not decode all of a JPEG to make it small, and Daft does."""

import io
import os
from typing import Any, List, Union

import scoring
import daft
import numpy as np
from daft import DataType, Expression, Series, col
from daft.functions import decode_image, download, replace

given = scoring.options()


def score_images(output: str) -> None:
    model = scoring.Images(given)
    probe = model.columns(["x"], [np.zeros((given.side, given.side, given.channels), dtype=np.uint8)])
    names = [name for name in probe if name != "file"]
    result = DataType.struct({name: DataType.int64() if name == "label" else DataType.float32() for name in names})

    @daft.cls(max_concurrency=given.processes)
    class Score:
        def __init__(self) -> None:
            self._images = scoring.Images(given)

        @daft.method.batch(return_dtype=result, batch_size=given.batch)
        def rows(self, images: Series) -> List[Any]:
            found = self._images.columns([""] * len(images), [pixels(image) for image in images.to_pylist()])
            return [dict(zip(names, row)) for row in zip(*(found[name].tolist() for name in names))]

    read = daft.from_glob_path(f"{given.input}/**").with_column("image", download(col("path")))
    if given.channels == 1:
        read = read.with_column("image", decode_image(col("image"), mode="L"))
    scored = read.select(col("path").alias("file"), Score().rows(col("image")).alias("rows"))
    split = scored.select(col("file"), *[col("rows")[name].alias(name) for name in names])
    split.with_column("file", relative(col("file"))).write_csv(output, write_mode="overwrite")


def pixels(image: Union[bytes, np.ndarray]) -> np.ndarray:
    return scoring.decode(io.BytesIO(image), given) if isinstance(image, bytes) else np.asarray(image)


def relative(path: Expression) -> Expression:
    return replace(replace(path, "file://", ""), f"{given.input}/", "")


def score_tables(output: str) -> None:
    @daft.cls(max_concurrency=given.processes)
    class Score:
        def __init__(self) -> None:
            self._tables = scoring.Tables(given.model)

        @daft.method.batch(return_dtype=DataType.float32())
        def scores(self, *cells: Series) -> np.ndarray:
            return self._tables.scores(np.stack([cell.to_arrow().to_numpy() for cell in cells], axis=1))

    pattern = f"{given.input}/*.{given.kind}"
    reader = daft.read_csv if given.kind == "csv" else daft.read_parquet
    read = reader(pattern, file_path_column="path")
    names = [name for name in read.column_names if name != "path"]
    scored = read.select(col("path").alias("file"), Score().scores(*[col(name) for name in names]).alias("score"))
    scored.with_column("file", relative(col("file"))).write_csv(output, write_mode="overwrite")


def score_script(output: str) -> None:
    @daft.cls(max_concurrency=given.processes)
    class Score:
        def __init__(self) -> None:
            self._script = scoring.script(given.model)

        @daft.method.batch(return_dtype=DataType.list(DataType.float64()), batch_size=given.batch)
        def rows(self, paths: Series) -> List[Any]:
            return [self._script.run([path.replace("file://", "")])["score"].tolist() for path in paths.to_pylist()]

    read = daft.from_glob_path(f"{given.input}/**")
    scored = read.select(relative(col("path")).alias("file"), Score().rows(col("path")).alias("score"))
    scored.explode("score").write_csv(output, write_mode="overwrite")


def main() -> None:
    ways = {"images": score_images, "csv": score_tables, "parquet": score_tables, "script": score_script}
    scoring.serve(given, ways[given.kind])


if __name__ == "__main__":
    main()
