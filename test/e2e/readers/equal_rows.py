"""The outputs of one job in several formats, each read by readers that are not ours: their rows must be equal.

Arguments: CSV, JSON Lines, Arrow stream, Arrow file, Parquet. Prints the types of the columns, the number of rows, and the first row, as JSON.
"""

import json
import math
import sys

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def plain(value):
    """As JSON has it, so that texts of numbers, dates and lists can be told from each other no more."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp) or hasattr(value, "isoformat"):
        time = pd.Timestamp(value)
        return (time if time.tz is None else time.tz_convert("UTC").tz_localize(None)).isoformat()
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def from_text(value, kind):
    """A cell of a text format as the type that the Arrow stream has."""
    if value is None or value == "":
        return None
    if pa.types.is_string(kind):
        return str(value) if not isinstance(value, (dict, list)) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if pa.types.is_boolean(kind):
        return {"True": True, "False": False}.get(value, value)
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_temporal(kind):
        return plain(pd.Timestamp(value))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return json.loads(value) if isinstance(value, str) else value
    raise AssertionError(f"no text of {kind}")


csv_path, jsonl_path, arrow_path, file_path, parquet_path = sys.argv[1:]
table = pa.ipc.open_stream(arrow_path).read_all()
table.validate(full=True)
names, kinds = table.schema.names, [field.type for field in table.schema]
wanted = [[plain(row[name]) for name in names] for row in table.to_pylist()]

frame = pd.read_csv(csv_path, dtype=str, keep_default_na=False)
assert list(frame.columns) == names, (list(frame.columns), names)
found = [[from_text(cell, kind) for cell, kind in zip(row, kinds)] for row in frame.itertuples(index=False, name=None)]
# Text formats have no difference between a missing and an empty text.
blank = [[None if cell == "" else cell for cell in row] for row in wanted]
assert found == blank, next((pair for pair in zip(found, blank) if pair[0] != pair[1]), "rows are missing")

with open(jsonl_path, encoding="utf-8") as file:
    objects = [json.loads(line) for line in file]
assert all(list(row) == names for row in objects)
found = [[from_text(row[name], kind) for name, kind in zip(names, kinds)] for row in objects]
assert found == blank, next((pair for pair in zip(found, blank) if pair[0] != pair[1]), "rows are missing")

duckdb.sql("SET TimeZone = 'UTC'")
# DuckDB has no halves; each is a float32 exactly.
wide = table.cast(pa.schema([(name, pa.float32() if pa.types.is_float16(kind) else kind) for name, kind in zip(names, kinds)]))
found = [[plain(cell) for cell in row] for row in duckdb.from_arrow(wide).fetchall()]
assert found == wanted, next((pair for pair in zip(found, wanted) if pair[0] != pair[1]), "rows are missing")
assert len(table.to_pandas()) == len(wanted)

for other in [pa.ipc.open_file(file_path).read_all(), pq.read_table(parquet_path)]:
    other.validate(full=True)
    assert other.schema.equals(table.schema), (other.schema, table.schema)
    assert other.equals(table) or [[plain(row[name]) for name in names] for row in other.to_pylist()] == wanted
meta = pq.read_metadata(parquet_path)
assert (meta.num_rows, meta.metadata[b"batchmill.job"] != b"") == (len(wanted), True)
assert all(meta.row_group(0).column(index).statistics is not None for index in range(meta.num_columns) if meta.schema.column(index).max_repetition_level == 0)
for found in [duckdb.read_parquet(parquet_path).fetchall()]:
    found = [[plain(cell) for cell in row] for row in found]
    assert found == wanted, next((pair for pair in zip(found, wanted) if pair[0] != pair[1]), "rows are missing")
assert len(pd.read_parquet(parquet_path)) == len(pd.read_feather(file_path)) == len(wanted)

types = {name: str(kind).replace("list<item: ", "list<") for name, kind in zip(names, kinds)}
print(json.dumps({"types": types, "rows": len(wanted), "first": wanted[0]}, default=str))
