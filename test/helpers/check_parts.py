"""Rows as readers that are not ours have them: makes streams of all types, and holds parts against the stream that they came from.

make DIR             writes types.arrows, odd.arrows, empty.arrows, and spans.arrows, which Parquet cannot have
plain STREAM FORMAT FILE...   the files, one after the other, are the rows of the stream, with its schema
hive STREAM DIR COLUMN...     the folders hold the rows of the stream, in its order within each value
"""

import datetime as dt
import decimal
import glob
import json
import os
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc
import pyarrow.parquet as pq

UTC = dt.timezone.utc


def types_table():
    n = 700
    every = lambda values: [values[i % len(values)] for i in range(n)]
    time = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
    fields = [
        ("id", pa.int64(), [2**53 + i for i in range(n)]),
        ("truth", pa.bool_(), every([True, None, False, True, True])),
        ("i8", pa.int8(), every([-128, 127, None])),
        ("u8", pa.uint8(), every([255, 0, None])),
        ("i16", pa.int16(), every([-32768, 32767])),
        ("u16", pa.uint16(), every([65535, 0, 7])),
        ("i32", pa.int32(), every([-(2**31), 2**31 - 1, None])),
        ("u32", pa.uint32(), every([2**32 - 1, 0])),
        ("u64", pa.uint64(), every([2**64 - 1, 2**63, None, 0])),
        ("half", pa.float16(), every([np.float16(x) for x in (0.1, float("inf"), float("nan"), -65504)] + [None])),
        ("single", pa.float32(), every([0.1, float("nan"), None, float("-inf"), -0.0])),
        ("double", pa.float64(), every([0.1, float("inf"), None, 5e-324, float("nan")])),
        ("text", pa.utf8(), every(["", "ä — 漢字 🙂", None, "x" * 300, "\n\"'"])),
        ("große Spalte/ß", pa.large_utf8(), every(["a", None, ""])),
        ("bytes", pa.binary(), every([b"", b"\x00\xff", None])),
        ("fixed", pa.binary(3), every([b"abc", None, b"\x00\x01\x02"])),
        ("day", pa.date32(), every([dt.date(2024, 2, 29), None, dt.date(1969, 12, 31)])),
        ("s", pa.timestamp("s"), every([time.replace(microsecond=0), None])),
        ("ms", pa.timestamp("ms", "UTC"), every([time.replace(microsecond=123000, tzinfo=UTC), None])),
        ("us", pa.timestamp("us", "Europe/Berlin"), every([time.replace(tzinfo=UTC), None])),
        ("ns", pa.timestamp("ns"), every([time, None])),
        ("clock", pa.time64("us"), every([dt.time(23, 59, 59, 999999), None])),
        ("money", pa.decimal128(20, 3), every([decimal.Decimal("-12345678901234567.891"), None])),
        ("nothing", pa.null(), [None] * n),
        ("list", pa.list_(pa.float32()), every([[1.5, None], [], None, list(range(50))])),
        ("pair", pa.list_(pa.int32(), 2), every([[1, 2], [3, None]])),
        ("lists", pa.list_(pa.list_(pa.utf8())), every([[["a"], None, []], None, [["ü", None]]])),
        ("times", pa.list_(pa.struct([("at", pa.timestamp("s", "UTC"))])), every([[{"at": time.replace(microsecond=0, tzinfo=UTC)}, None], None, []])),
        ("struct", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.utf8()))]), every([{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}])),
        ("map", pa.map_(pa.utf8(), pa.int32()), every([[("k", 1)], [], None])),
    ]
    return pa.table({name: pa.array(values, kind) for name, kind, values in fields})


ODD = ["a/b", "ä", "x=y", " ", None, "", "100%", "a:b?c*", "#'\"", "[{^\\", "tab\there", "+&~", "漢字", "..", "plain", "e\ufffdnd"]


def odd_table():
    n = 4000
    return pa.table(
        {
            "id": pa.array(range(n), pa.int64()),
            "odd": pa.array([ODD[i % len(ODD)] for i in range(n)]),
            "text": pa.array([f"row {i}" if i % 7 else None for i in range(n)]),
            "day": pa.array([dt.date(2024, 2, 27 + i % 3) for i in range(n)]),
            "flag": pa.array([i % 2 == 0 for i in range(n)]),
            "small": pa.array([i % 3 - 1 for i in range(n)], pa.int16()),
        }
    )


def write(path, table, rows):
    with pa.ipc.new_stream(path, table.schema) as sink:
        for batch in table.to_batches(max_chunksize=rows):
            sink.write_batch(batch)


def make(folder):
    types = types_table()
    write(f"{folder}/types.arrows", types, 100)
    write(f"{folder}/empty.arrows", types.slice(0, 0), 100)
    write(f"{folder}/odd.arrows", odd_table(), 333)
    spans = pa.array([None, (1, 2, 3)], pa.month_day_nano_interval())
    write(f"{folder}/spans.arrows", pa.table({"id": pa.array([1, 2]), "span": spans}), 100)


def stream(path):
    with pa.ipc.open_stream(path) as source:
        return source.read_all()


def parquet_type(kind):
    """Parquet knows no seconds."""
    if pa.types.is_list(kind):
        return pa.list_(parquet_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, parquet_type(field.type)) for field in kind])
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) and kind.unit == "s" else kind


def same_type(ours, theirs):
    """The names that a map gives to its entries tell nothing."""
    if pa.types.is_map(theirs):
        return pa.types.is_map(ours) and (ours.key_type, ours.item_type) == (theirs.key_type, theirs.item_type)
    return ours.equals(theirs)


def plain(source, form, *files):
    wanted = stream(source)
    readers = {
        "parquet": lambda path: pq.read_table(path, partitioning=None),
        "arrow_file": lambda path: pa.ipc.open_file(path).read_all(),
        "arrow": stream,
    }
    tables = [readers[form](path) for path in files]
    found = pa.concat_tables(tables)
    kinds = {name: parquet_type(kind) if form == "parquet" else kind for name, kind in zip(wanted.schema.names, wanted.schema.types)}
    assert found.schema.names == wanted.schema.names
    for name, kind in kinds.items():
        assert same_type(found.schema.field(name).type, kind), f"{name}: {found.schema.field(name).type}, wanted {kind}"
    # Bits, as NaN is not equal to itself.
    for name in wanted.schema.names:
        ours, theirs = found[name].combine_chunks(), wanted[name].combine_chunks()
        assert repr(ours.to_pylist()) == repr(theirs.to_pylist()), f"{name}: {ours}\n\nwanted\n\n{theirs}"
    told = {"rows": [table.num_rows for table in tables], "metadata": []}
    for path in files:
        if form == "parquet":
            meta = pq.read_metadata(path)
            groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
            told.setdefault("groups", []).append([group.num_rows for group in groups])
            told["codec"] = groups[0].column(0).compression if groups else None
            told["metadata"].append({k.decode(): v.decode() for k, v in (meta.metadata or {}).items() if k != b"ARROW:schema"})
            told["duckdb"] = told.get("duckdb", 0) + duckdb.sql(f"select count(*) from read_parquet('{path}')").fetchone()[0]
            told["pandas"] = told.get("pandas", 0) + len(pd.read_parquet(path))
        else:
            reader = pa.ipc.open_file(path) if form == "arrow_file" else pa.ipc.open_stream(path)
            told["metadata"].append({k.decode(): v.decode() for k, v in (reader.schema.metadata or {}).items()})
            told.setdefault("groups", []).append([batch.num_rows for batch in tables[files.index(path)].to_batches()])
    print(json.dumps(told))


def rows_of(table, columns):
    return table.select(columns).to_pylist()


def hive(source, folder, *columns):
    """Null and '' have one folder."""
    wanted = stream(source)
    names = wanted.schema.names
    normal = lambda row: {k: None if k in columns and v == "" else v for k, v in row.items()}
    rows = [normal(row) for row in wanted.to_pylist()]
    kinds = pa.schema([wanted.schema.field(name) for name in columns])
    extension = "parquet" if glob.glob(f"{folder}/**/*.parquet", recursive=True) else "ipc"

    table = ds.dataset(folder, format=extension, partitioning=ds.partitioning(kinds, flavor="hive")).to_table()
    found = sorted(rows_of(table, names), key=lambda row: row["id"])
    assert found == rows, f"pyarrow: {[pair for pair in zip(found, rows) if pair[0] != pair[1]][:3]} of {len(found)}"

    files = [path for path in glob.glob(f"{folder}/**/*", recursive=True) if os.path.isfile(path)]
    for path in files:
        one = pq.read_table(path, partitioning=None) if extension == "parquet" else pa.ipc.open_file(path).read_all()
        assert not set(columns) & set(one.schema.names), path
        ids = one["id"].to_pylist()
        assert ids == sorted(ids), path

    if extension == "parquet":
        options = ", ".join(f"'{name}': {duck(wanted.schema.field(name).type)}" for name in columns)
        query = f"select * from read_parquet('{folder}/**/*.parquet', hive_partitioning=true, hive_types={{{options}}}) order by id"
        found = rows_of(duckdb.sql(query).fetch_arrow_table(), names)
        found = [{**row, **{c: None if row[c] == "__HIVE_DEFAULT_PARTITION__" else row[c] for c in columns}} for row in found]
        assert found == rows, f"duckdb: {[pair for pair in zip(found, rows) if pair[0] != pair[1]][:3]} of {len(found)}"

        frame = pd.read_parquet(folder, partitioning=ds.partitioning(kinds, flavor="hive")).sort_values("id")
        assert frame["id"].tolist() == [row["id"] for row in rows]
        for name in columns:
            ours = [None if value is None or value is pd.NaT or value != value else value for value in frame[name].astype(object)]
            assert ours == [row[name] for row in rows], f"pandas: {name}"
    print(json.dumps({"rows": len(rows), "files": len(files)}))


def duck(kind):
    return {"string": "VARCHAR", "date32[day]": "DATE", "bool": "BOOLEAN", "int16": "SMALLINT", "int64": "BIGINT"}[str(kind)]


{"make": make, "plain": plain, "hive": hive}[sys.argv[1]](*sys.argv[2:])
# Threads of the libraries may still run, and an interpreter that ends in order ends in disorder then.
sys.stdout.flush()
os._exit(0)
