"""Results as an Arrow stream, read back by pyarrow."""

import base64
import collections
import datetime
import decimal
import io
import json
import math
import unittest
from typing import Any, List, Optional

import numpy as np
import pandas as pd
import pyarrow as pa

from batchmill_host.column_types import parse_type, split_column
from batchmill_host.encode import Encoding, encode
from batchmill_host.failures import HostFailure
from batchmill_host.origin import Form, origin_columns
from batchmill_host.results import read_result

END = b"\xff\xff\xff\xff\0\0\0\0"


def stream(returned: Any, form: Form = Form(), files: Optional[List[str]] = None, columns: Optional[List[str]] = None) -> bytes:
    out = io.BytesIO()
    result = read_result(returned)
    added = origin_columns(form, files or [], len(result.data))
    schema = encode(result, Encoding("arrow", form, added, columns=columns), out.write)
    assert schema is not None and schema.prologueForm == "base64"
    data = base64.b64decode(schema.prologue) + out.getvalue() + END
    # What the schema of the result names is what a reader finds.
    names = [split_column(text)[0] for text in schema.columns]
    assert names == pa.ipc.open_stream(data).schema.names
    return data


def table(returned: Any, form: Form = Form(), files: Optional[List[str]] = None, columns: Optional[List[str]] = None) -> pa.Table:
    found = pa.ipc.open_stream(stream(returned, form, files, columns)).read_all()
    found.validate(full=True)
    return found


def types(found: pa.Table) -> str:
    return " ".join(f"{field.name}:{field.type}" for field in found.schema)


UTC = datetime.timezone.utc
DAY = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
RECORDS = [
    {"t": True, "i": 2**62, "f": 0.5, "s": "ü — 漢字 🙂", "b": b"\0\xff", "d": DAY.date(), "w": DAY, "z": DAY.replace(tzinfo=UTC), "l": [1, None], "n": None, "o": {"a": [1]}},
    {"t": None, "i": None, "f": math.nan, "s": None, "b": None, "d": None, "w": None, "z": None, "l": None, "n": None, "o": None},
    {"t": False, "i": -1, "f": 3, "s": "", "b": b"", "d": datetime.date(1, 1, 1), "w": datetime.datetime(1, 1, 1), "z": DAY.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
     "l": [], "n": None, "o": {}},
]


class Values(unittest.TestCase):
    def test_columns_have_the_type_that_fits_all_values(self) -> None:
        found = table(RECORDS)
        self.assertEqual(
            types(found),
            "t:bool i:int64 f:double s:string b:binary d:date32[day] w:timestamp[us] z:timestamp[us, tz=UTC] l:list<item: int64> n:null o:string",
        )
        plain = found.to_pylist()
        for name in "tisbdwln":
            self.assertEqual([row[name] for row in plain], [row[name] for row in RECORDS], name)
        self.assertEqual([row["f"] for row in plain][::2], [0.5, 3.0])
        self.assertTrue(math.isnan(plain[1]["f"]))
        self.assertEqual([row["o"] for row in plain], ['{"a":[1]}', None, "{}"])
        self.assertEqual([row["z"] for row in plain], [row["z"] for row in RECORDS])

    def test_single_values_rows_and_namedtuples(self) -> None:
        self.assertEqual(table([1, 2]).to_pydict(), {"result": [1, 2]})
        self.assertEqual(table([(1, "a"), (2, "b")]).to_pydict(), {"c0": [1, 2], "c1": ["a", "b"]})
        Row = collections.namedtuple("Row", "x y")
        self.assertEqual(table([Row(1, 0.5)]).to_pydict(), {"x": [1], "y": [0.5]})

    def test_what_has_no_type_is_text(self) -> None:
        self.assertEqual(table([decimal.Decimal("1.10")]).to_pydict(), {"result": ["1.10"]})
        self.assertEqual(table([{"x": [1, "a"]}]).to_pydict(), {"x": ['[1,"a"]']})

    def test_a_gap_of_pandas_is_no_number_among_texts(self) -> None:
        for values in (["a", math.nan], [math.nan, "a"]):
            found = table([{"x": value} for value in values])
            self.assertEqual((types(found), found["x"].null_count), ("x:string", 1))
        self.assertEqual(types(table([{"x": 1}, {"x": math.nan}])), "x:double")

    def test_two_kinds_in_a_column_are_refused(self) -> None:
        with self.assertRaises(HostFailure) as raised:
            table([{"x": 1}, {"x": "a"}])
        self.assertEqual(raised.exception.code, "SCORER_OUTPUT_INVALID")
        self.assertIn("column 'x' is utf8 in row 1 and int64 in the rows before", raised.exception.message)

    def test_many_rows_are_several_batches(self) -> None:
        reader = pa.ipc.open_stream(stream(list(range(40_000))))
        self.assertEqual([batch.num_rows for batch in reader], [16_384, 16_384, 7_232])


class Typed(unittest.TestCase):
    def test_arrays_keep_their_types(self) -> None:
        for name in ("int8", "uint16", "int64", "float16", "float32", "float64", "bool"):
            array = np.array([[0, 1], [1, 0], [1, 1]], dtype=name)
            found = table(array)
            self.assertEqual([str(field.type) for field in found.schema], [str(pa.from_numpy_dtype(array.dtype))] * 2)
            self.assertEqual(np.array(list(found.to_pydict().values())).T.tolist(), array.tolist())
        self.assertEqual(types(table(np.array(7, np.float32))), "result:float")
        pairs = np.array([(1, 0.5)], dtype=[("a", "<i4"), ("b", "<f4")])
        self.assertEqual(types(table(pairs)), "a:int32 b:float")
        swapped = np.array([1, 2], dtype=">i4")
        self.assertEqual(table(swapped).to_pydict(), {"result": [1, 2]})

    def test_lists_of_arrays_and_scalars_keep_theirs(self) -> None:
        found = table([{"v": np.array([0.5, 1], np.float32), "s": np.float16(2)}, {"v": None, "s": np.float16(3)}])
        self.assertEqual(types(found), "v:list<item: float> s:halffloat")
        self.assertEqual(found["v"].to_pylist(), [[0.5, 1.0], None])

    def test_times_of_numpy_in_a_cell_are_times(self) -> None:
        times = np.array(["2020-01-01T00:00:00.000000001", "NaT"], dtype="M8[ns]")
        found = table([{"t": time, "u": time.astype("M8[us]"), "d": time.astype("M8[D]"), "l": times} for time in times])
        self.assertEqual(types(found), "t:timestamp[ns] u:timestamp[us] d:date32[day] l:list<item: timestamp[ns]>")
        self.assertEqual(found["t"].cast(pa.int64()).to_pylist(), [1_577_836_800_000_000_001, None])
        self.assertEqual(found["u"].to_pylist(), [datetime.datetime(2020, 1, 1), None])
        self.assertEqual(found["d"].to_pylist(), [datetime.date(2020, 1, 1), None])
        self.assertEqual(found["l"].combine_chunks().flatten().cast(pa.int64()).to_pylist(), [1_577_836_800_000_000_001, None] * 2)

    def test_durations_and_long_doubles_are_text(self) -> None:
        spans = np.array([1, "NaT"], dtype="m8[s]").astype("m8[ns]")
        for returned in ([{"x": span} for span in spans], pd.DataFrame({"x": spans})):
            self.assertEqual(table(returned).to_pydict(), {"x": ["0 days 00:00:01", None]})
        for returned in ([np.longdouble(1.5), np.longdouble("nan")], np.array([1.5, np.nan], np.longdouble)):
            self.assertEqual(table(returned).to_pydict(), {"result": ["1.5", None]})

    def test_frames_keep_the_types_of_their_columns(self) -> None:
        frame = pd.DataFrame(
            {
                "f": np.array([0.5, np.nan, 2], np.float32),
                "i": np.array([1, 2, 3], np.int32),
                "when": np.array(["2024-01-01", "NaT", "1969-12-31T23:59:59.123456789"], "datetime64[ns]"),
                "zone": pd.to_datetime(["2024-07-01 12:00"] * 3).tz_localize("Europe/Berlin"),
                "kind": pd.Categorical(["a", None, "b"]),
                "gaps": pd.array([1, None, 3], dtype="Int64"),
                "text": pd.array(["x", None, "z"], dtype="string"),
                "flag": pd.array([True, None, False], dtype="boolean"),
                "mixed": ["x", np.nan, None],
                "list": [[1], [], None],
            }
        )
        found = table(frame)
        self.assertEqual(
            types(found),
            "f:float i:int32 when:timestamp[ns] zone:timestamp[ns, tz=UTC] kind:string gaps:int64 text:string flag:bool mixed:string list:list<item: int64>",
        )
        for name in ("i", "when", "kind", "gaps", "text", "flag", "list"):
            wanted = pa.Array.from_pandas(frame[name])
            wanted = wanted.dictionary_decode() if name == "kind" else wanted
            self.assertEqual(found[name].combine_chunks().cast(wanted.type).to_pylist(), wanted.to_pylist(), name)
        self.assertEqual(found["mixed"].to_pylist(), ["x", None, None])
        self.assertEqual(found["zone"].to_pandas().tolist(), frame["zone"].dt.tz_convert("UTC").tolist())
        self.assertTrue(math.isnan(found["f"].to_pylist()[1]))
        self.assertEqual(table(frame.iloc[1:]).slice(1).to_pylist()[0]["kind"], "b")
        self.assertEqual(types(table(pd.Series([1, 2], name="n", dtype="int16"))), "n:int16")

    def test_tables_of_arrow_stay_as_they_are(self) -> None:
        words = pa.array(["b", "a", None]).dictionary_encode()
        given = pa.table({"w": words, "d": pa.array([decimal.Decimal("1.25")] * 3), "s": pa.array([{"a": 1}] * 3)})
        found = table(given)
        self.assertEqual(types(found), "w:string d:decimal128(3, 2) s:struct<a: int64>")
        self.assertEqual(found.to_pylist(), given.to_pylist())

    def test_tables_of_arrow_stay_so_beside_other_columns_and_schemas(self) -> None:
        nanos = pa.array([1_577_836_800_000_000_001, None], pa.int64()).cast(pa.timestamp("ns"))
        kept = {"t": nanos, "m": pa.array([decimal.Decimal("1.25"), None]), "d": pa.array([5, None], pa.duration("s"))}
        given = pa.table({"i": pa.array([1, None], pa.int32()), **kept})
        form = Form(file_column="source", row_column="line")
        found = table(given, form, ["a"])
        self.assertEqual(types(found), "source:string line:int64 i:int32 t:timestamp[ns] m:decimal128(3, 2) d:duration[s]")
        self.assertTrue(found.select(given.schema.names).equals(given))
        self.assertEqual(table(given, form, ["a\udc80"])["source"].to_pylist(), ["a\\udc80"] * 2)
        wide = ["i:int64", "t:timestamp[ns]", "m:decimal128[3,2]", "d:duration[s]"]
        for found in (table(given, columns=wide), table(given, form._replace(schema=wide), ["a"]).drop_columns(["source", "line"])):
            self.assertEqual(types(found), "i:int64 t:timestamp[ns] m:decimal128(3, 2) d:duration[s]")
            self.assertTrue(found.select(list(kept)).equals(given.select(list(kept))))
        # What must be read as lists, to be put in another order, has its types all the same.
        found = table(given.select(["i", "t"]), Form(schema=["t:timestamp[ns]", "i:int32"]))
        self.assertTrue(found.select(["i", "t"]).equals(given.select(["i", "t"])))
        with self.assertRaises(HostFailure) as raised:
            table(given, columns=["i:int32", "t:timestamp[us]", *wide[2:]])
        self.assertIn("column t is timestamp[ns] here and timestamp[us] in the job's first rows", raised.exception.message)

    def test_dictionaries_inside_of_other_types_are_written_out(self) -> None:
        words, text = pa.dictionary(pa.int8(), pa.string()), pa.string()
        for kind, cell, wanted in (
            (pa.list_(words), ["a", "b"], pa.list_(text)),
            (pa.large_list(words), ["a"], pa.large_list(text)),
            (pa.list_(words, 1), ["a"], pa.list_(text, 1)),
            (pa.struct([pa.field("k", words)]), {"k": "a"}, pa.struct([pa.field("k", text)])),
            (pa.list_(pa.struct([pa.field("k", words)])), [{"k": "a"}], pa.list_(pa.struct([pa.field("k", text)]))),
        ):
            found = table(pa.table({"x": pa.array([cell, None], kind)}))
            self.assertEqual((found["x"].type, found["x"].to_pylist()), (wanted, [cell, None]))
        pairs = pa.MapArray.from_arrays([0, 1], pa.array(["a"]), pa.array(["x"]).dictionary_encode())
        found = table(pa.table({"x": pairs}))
        self.assertEqual((found["x"].type, found["x"].to_pylist()), (pa.map_(text, text), [[("a", "x")]]))


class Declared(unittest.TestCase):
    def test_values_get_their_types_and_their_order(self) -> None:
        form = Form(schema=["b:float32", "a:int64", "s:struct<x:int64,y:utf8>", "n:timestamp[ns]"])
        found = table([{"a": 1.0, "b": 2, "s": {"x": 1, "y": "z"}, "n": None}, {"a": math.nan, "b": None, "s": None, "n": DAY}], form)
        self.assertEqual(types(found), "b:float a:int64 s:struct<x: int64, y: string> n:timestamp[ns]")
        self.assertEqual([row["a"] for row in found.to_pylist()], [1, None])
        self.assertEqual(found["n"].to_pandas()[1], pd.Timestamp(DAY))
        frame = pd.DataFrame({"a": [1.0, np.nan], "b": [1, 2]})
        self.assertEqual(table(frame, Form(schema=["a:int64", "b:float64"])).to_pydict(), {"a": [1, None], "b": [1.0, 2.0]})
        self.assertEqual(table([0.5], Form(schema=["score:float16"])).to_pydict(), {"score": [0.5]})
        self.assertEqual(table(pa.table({"n": [1]}), Form(schema=["n:float64"])).to_pydict(), {"n": [1.0]})

    def test_what_does_not_fit_is_refused(self) -> None:
        for value, kind, told in ((128, "int8", "'128' (int)"), (0.5, "int64", "'0.5' (float)"), ("x", "float64", "'x' (str)"),
                                  (2**53 + 1, "float64", "'9007199254740993'"), (-1, "uint8", "'-1'"), (1, "bool", "'1'"), (2**64, "int64", "'1844")):
            with self.assertRaises(HostFailure) as raised:
                table([{"x": None}, {"x": value}], Form(schema=[f"x:{kind}"]))
            self.assertIn(f"column 'x' is {kind}, and row 1 has {told}", raised.exception.message)
        for rows, told in (([{"y": 1}], "lack the column x:int8"), ([{"x": 1, "y": 1}], "have a column y")):
            with self.assertRaises(HostFailure) as raised:
                table(rows, Form(schema=["x:int8"]))
            self.assertIn(told, raised.exception.message)

    def test_types_are_read_from_their_texts(self) -> None:
        for text in ("null", "uint8", "float16", "timestamp[ns,Europe/Berlin]", "list<list<int64>>", "struct<a:list<utf8>,b:bool>"):
            self.assertEqual(str(parse_type(text)), text)
        for text in ("int7", "list<>", "struct<>", "timestamp[m]", ""):
            self.assertIsNone(parse_type(text))
        self.assertEqual(split_column("a:b:struct<x:int64,y:utf8>"), ("a:b", "struct<x:int64,y:utf8>"))


class Widened(unittest.TestCase):
    def test_rows_get_the_types_that_the_first_ones_have(self) -> None:
        wide = ["a:float64", "b:utf8", "c:int64", "d:list<float64>"]
        for returned in (
            [{"a": 1, "b": None, "c": 2, "d": [1]}],
            pd.DataFrame({"a": np.array([1], "float32"), "b": [None], "c": np.array([2], "uint8"), "d": [[1]]}),
            pa.table({"a": pa.array([1], pa.int8()), "b": pa.nulls(1), "c": [2], "d": [[1]]}),
        ):
            found = table(returned, columns=wide)
            self.assertEqual(types(found), "a:double b:string c:int64 d:list<item: double>")
            self.assertEqual(found.to_pylist(), [{"a": 1.0, "b": None, "c": 2, "d": [1.0]}])
        self.assertEqual(types(table([{"x": 1}], columns=wide)), "x:int64")

    def test_nothing_is_lost(self) -> None:
        for value, kind in ((0.5, "int64"), (1, "float32"), ("a", "null"), (0.5, "float32"), (True, "int64"), ([0.5], "list<int64>")):
            with self.assertRaises(HostFailure) as raised:
                table([{"x": value}], columns=[f"x:{kind}"])
            self.assertEqual(raised.exception.code, "RESULT_SCHEMA_MISMATCH")
            self.assertIn(f" here and {kind} in the job's first rows", raised.exception.message)
        with self.assertRaises(HostFailure):
            table([{"x": 2**53 + 1}], columns=["x:float64"])


class Origin(unittest.TestCase):
    def test_columns_stand_before_the_others(self) -> None:
        form = Form(file_column="source", row_column="line")
        self.assertEqual(table([7, 8], form, ["a", "b"]).to_pydict(), {"source": ["a", "b"], "line": [0, 0], "result": [7, 8]})
        self.assertEqual(table([7, 8], form, ["a"]).to_pydict(), {"source": ["a", "a"], "line": [0, 1], "result": [7, 8]})
        self.assertEqual(types(table(pd.DataFrame({"x": [1]}), form, ["a"])), "source:string line:int64 x:int64")
        self.assertEqual(types(table(pa.table({"x": [1]}), form, ["a"])), "source:string line:int64 x:int64")
        with self.assertRaises(HostFailure):
            table([1, 2, 3], form, ["a", "b"])
        with self.assertRaises(HostFailure):
            table([{"line": 1}], form, ["a"])

    def test_text_formats_have_them_too(self) -> None:
        form = Form(header=True, delimiter=";", file_column="source", row_column="line")

        def text(returned: Any, output_format: str) -> str:
            out = io.BytesIO()
            result = read_result(returned)
            encoding = Encoding(output_format, form, origin_columns(form, ["a b", "c"], len(result.data)))
            schema = encode(result, encoding, out.write)
            return (schema.prologue if schema else "") + out.getvalue().decode()

        for returned in ([{"x": 1}, {"x": 2}], pd.DataFrame({"x": [1, 2]})):
            self.assertEqual(text(returned, "csv"), "source;line;x\na b;0;1\nc;0;2\n")
            self.assertEqual(text(returned, "azure"), '"a b" 0 1\nc 0 2\n')
            self.assertEqual([json.loads(line) for line in text(returned, "jsonl").splitlines()],
                             [{"source": "a b", "line": 0, "x": 1}, {"source": "c", "line": 0, "x": 2}])
        self.assertEqual(text(["x", "y"], "azure"), '"a b" 0 x\nc 0 y\n')
        form = form._replace(header=False)
        self.assertEqual(text([1, 2], "csv"), "a b;0;1\nc;0;2\n")


if __name__ == "__main__":
    unittest.main()
