"""What run() may return, and how it stands in the output file."""

import collections
import csv
import datetime
import decimal
import io
import json
import pathlib
import sys
import unittest
from typing import Any, Optional, Tuple
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa

from batchmill_host.encode import Encoding, Schema, encode
from batchmill_host.failures import HostFailure
from batchmill_host.numpy_values import plain_value
from batchmill_host.results import Frame, pandas_frame, read_result


def encoded(returned: Any, output_format: str) -> Tuple[str, Optional[Schema]]:
    out = io.BytesIO()
    schema = encode(read_result(returned), Encoding(output_format), out.write)
    return out.getvalue().decode("utf-8"), schema


def text(returned: Any, output_format: str = "azure") -> str:
    return encoded(returned, output_format)[0]


# One row for each line of the table in section 3.1 of the contract, and what pandas itself makes of it.
MIXED = pd.DataFrame(
    {
        "file": ["a.png", "a b.png", 'say "x" y', "two\nlines", "a,b", None],
        "number": np.array([0.1234, 1, 2.5, np.nan, 1e-7, 3e20], dtype=np.float32),
        "count": [1, 2, 3, 4, 5, 6],
        "flag": [True, False, True, True, False, False],
        "when": pd.to_datetime(["2024-01-01 02:03:00"] * 5 + [None]),
        "list": [[1, 2], ["q"], {}, {"a": 1}, None, ()],
        "last": [None, "x", "", np.nan, "y", "z"],
    }
)


class Azure(unittest.TestCase):
    def test_a_list_is_one_str_a_line_without_quotes(self) -> None:
        self.assertEqual(text(["a b.png: 7", 'q"uote', 3, 0.5, None, [1, 2], {"a": 1}, True]),
                         'a b.png: 7\nq"uote\n3\n0.5\nNone\n[1, 2]\n{\'a\': 1}\nTrue\n')

    def test_an_array_in_a_list_or_a_cell_is_one_line_and_whole(self) -> None:
        short, wide = np.array([0.1, 0.2], dtype=np.float32), np.arange(2_000)
        self.assertEqual(text([short, ("f", short)]), f"{short}\n('f', {short!r})\n")
        whole = "[" + " ".join(f"{value:4}" for value in range(2_000)) + "]"
        self.assertEqual(text([wide, wide]), f"{whole}\n{whole}\n")
        frame = pd.DataFrame({"file": ["a"], "embedding": [wide]})
        self.assertEqual(text(frame), f'a "{whole}"\n')
        self.assertEqual(text(frame, "csv"), f"a,{whole}\n")
        # The script's own printing is as it was.
        self.assertIn("...", str(wide))

    def test_an_embedded_newline_stays(self) -> None:
        self.assertEqual(text(["two\nlines", "x"]), "two\nlines\nx\n")

    def test_json_text_is_read_back_line_by_line(self) -> None:
        rows = [{"a": "b c"}, {"a": 'd"e'}]
        lines = text([json.dumps(row) for row in rows]).splitlines()
        self.assertEqual([json.loads(line) for line in lines], rows)

    def test_a_frame_is_what_pandas_writes(self) -> None:
        found = text(MIXED)
        self.assertEqual(found, MIXED.to_csv(sep=" ", header=False, index=False))
        self.assertEqual(found.splitlines()[0], 'a.png 0.1234 1 True "2024-01-01 02:03:00" "[1, 2]" ')
        self.assertIn('"say ""x"" y"', found)
        self.assertIn(" ['q'] ", found)

    def test_the_index_is_never_written(self) -> None:
        self.assertEqual(text(pd.DataFrame({"a": [1, 2]}, index=["x", "y"])), "1\n2\n")

    def test_an_empty_cell_alone_is_quoted(self) -> None:
        self.assertEqual(text(pd.DataFrame({"a": [None, ""]})), '""\n""\n')

    def test_a_long_frame_is_what_pandas_writes_at_once(self) -> None:
        frame = pd.DataFrame({"n": range(150_000), "t": ["a b"] * 150_000})
        self.assertEqual(text(frame), frame.to_csv(sep=" ", header=False, index=False))

    def test_a_long_list_loses_nothing_between_slices(self) -> None:
        rows = [f"row {n}" for n in range(10_000)]
        self.assertEqual(text(rows), "\n".join(rows) + "\n")

    def test_tuple_array_and_series_are_lists(self) -> None:
        self.assertEqual(text(("a", "b")), "a\nb\n")
        self.assertEqual(text(np.array([1, 2])), "1\n2\n")
        self.assertEqual(text(np.array([[0.5, 1.0]] * 2)), "[0.5, 1.0]\n[0.5, 1.0]\n")
        self.assertEqual(text(pd.Series(["a b", "c"], name="x")), "a b\nc\n")

    def test_an_array_without_dimensions_is_one_row(self) -> None:
        self.assertEqual(text(np.squeeze(np.array([[7]]))), "7\n")

    def test_a_structured_array_has_named_cells(self) -> None:
        array = np.array([(1, 0.5, "a b"), (2, 1.5, "c")], dtype=[("n", "i4"), ("x", "f8"), ("t", "U8")])
        self.assertEqual(text(array), "(1, 0.5, 'a b')\n(2, 1.5, 'c')\n")
        self.assertEqual(encoded(array, "csv"), ("1,0.5,a b\n2,1.5,c\n", Schema(["n:value", "x:value", "t:value"], "n,x,t\n")))
        self.assertEqual(text(array, "jsonl"), '{"n":1,"x":0.5,"t":"a b"}\n{"n":2,"x":1.5,"t":"c"}\n')

    def test_a_wide_array_is_one_line_a_row(self) -> None:
        self.assertEqual(len(text(np.zeros((3, 5_000))).splitlines()), 3)

    def test_another_separator_is_for_frames(self) -> None:
        out = io.BytesIO()
        encode(read_result(MIXED), Encoding("azure", separator=","), out.write)
        self.assertEqual(out.getvalue().decode("utf-8"), MIXED.to_csv(header=False, index=False))

    def test_there_is_no_schema(self) -> None:
        self.assertIsNone(encoded(MIXED, "azure")[1])

    def test_a_name_that_is_no_utf8_does_not_fail(self) -> None:
        self.assertEqual(text(["bad\udc80name"]), "bad\\udc80name\n")


class Csv(unittest.TestCase):
    def test_a_frame_has_its_columns_as_prologue(self) -> None:
        found, schema = encoded(MIXED, "csv")
        assert schema is not None
        self.assertEqual(schema.prologue + found, MIXED.to_csv(index=False))
        self.assertEqual([column.split(":")[0] for column in schema.columns], list(MIXED.columns))

    def test_the_schema_is_the_same_whatever_the_types_of_a_mini_batch_are(self) -> None:
        whole = encoded(pd.DataFrame({"n": [1, 2]}), "csv")[1]
        self.assertEqual(whole, encoded(pd.DataFrame({"n": [1, np.nan]}), "csv")[1])
        self.assertEqual(whole, encoded([{"n": "x"}], "csv")[1])

    def test_single_values_have_one_column(self) -> None:
        self.assertEqual(encoded(["a,b", 1, None], "csv"), ('"a,b"\n1\n""\n', Schema(["result:value"], "result\n")))
        self.assertEqual(encoded(pd.Series([1], name="x,y"), "csv")[1], Schema(["x,y:value"], '"x,y"\n'))

    def test_dicts_have_their_keys(self) -> None:
        found, schema = encoded([{"a": 1, "b": "x"}, {"b": float("nan"), "c": 'q"'}], "csv")
        self.assertEqual(found, '1,x,\n,,"q"""\n')
        self.assertEqual(schema, Schema(["a:value", "b:value", "c:value"], "a,b,c\n"))

    def test_rows_of_cells_are_numbered_and_namedtuples_named(self) -> None:
        self.assertEqual(encoded([[1, "a"], (2, "b")], "csv"), ("1,a\n2,b\n", Schema(["c0:value", "c1:value"], "c0,c1\n")))
        self.assertEqual(encoded(np.array([[1, 2]]), "csv")[0], "1,2\n")
        self.assertEqual(encoded([np.array([1, 2])], "csv")[0], "1,2\n")
        point = collections.namedtuple("point", "x y")
        self.assertEqual(encoded([point(1, 2)], "csv")[1], Schema(["x:value", "y:value"], "x,y\n"))

    def test_a_lone_carriage_return_is_in_quotes(self) -> None:
        torn = ["first\rsecond", "a\r\nb", "end\r", "plain"]
        kinds = {"c": pd.Categorical(torn)}
        for rows in (torn, pd.DataFrame({"c": torn}), pd.DataFrame(kinds), pd.DataFrame({"c": torn * 300}), [{"c": cell} for cell in torn]):
            found = text(rows, "csv")
            self.assertTrue(found.startswith('"first\rsecond"\n"a\r\nb"\n"end\r"\nplain\n'), found)
            self.assertEqual([row[0] for row in csv.reader(io.StringIO(found, newline=""))], torn * (len(rows) // 4))
        self.assertEqual(encoded([{"a\rb": 1}], "csv")[1], Schema(["a\rb:value"], '"a\rb"\n'))
        for frame in (pd.DataFrame({"c": torn}), pd.DataFrame(kinds)):
            self.assertEqual(text(frame), frame.to_csv(sep=" ", header=False, index=False))

    def test_missing_values_are_empty(self) -> None:
        self.assertEqual(text([[None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, 0]], "csv"), ",,,,,0\n")

    def test_an_array_in_a_cell_is_a_list(self) -> None:
        self.assertEqual(text([{"v": np.array([1, 2]), "w": [3]}], "csv"), '"[1, 2]",[3]\n')

    def test_results_of_different_forms_are_refused(self) -> None:
        for rows, words in (
            ([1, [2]], "element 1 of what run() returned is a row of cells, element 0 is a single value"),
            ([{"a": 1}, 2], "element 1 of what run() returned is a single value, element 0 is a dict"),
            ([[1], [1, 2]], "element 1 of what run() returned has 2 cells, element 0 has 1"),
        ):
            with self.assertRaises(HostFailure) as caught:
                text(rows, "csv")
            self.assertEqual(caught.exception.code, "SCORER_OUTPUT_INVALID")
            self.assertIn(words, caught.exception.message)

    def test_no_rows_have_no_schema(self) -> None:
        for returned in ([], pd.DataFrame({"a": []}), np.zeros((0, 3))):
            self.assertEqual(encoded(returned, "csv"), ("", None))


class JsonLines(unittest.TestCase):
    def lines(self, returned: Any) -> Any:
        def refuse(word: str) -> None:
            raise ValueError(f"{word} is no JSON")

        return [json.loads(line, parse_constant=refuse) for line in text(returned, "jsonl").split("\n")[:-1]]

    def test_a_frame_is_an_object_a_row(self) -> None:
        rows = self.lines(MIXED)
        self.assertEqual(rows[0], {"file": "a.png", "number": float(np.float32(0.1234)), "count": 1, "flag": True,
                                   "when": "2024-01-01T02:03:00", "list": [1, 2], "last": None})
        self.assertEqual([rows[3]["number"], rows[5]["when"], rows[3]["last"], rows[3]["list"]], [None, None, None, {"a": 1}])

    def test_floats_keep_all_their_digits(self) -> None:
        value = 0.1 + 0.2
        self.assertEqual(self.lines(pd.DataFrame({"x": [value]})), [{"x": value}])

    def test_frames_with_odd_columns(self) -> None:
        self.assertEqual(self.lines(pd.DataFrame([[1, 2]], columns=[7, 8])), [{"7": 1, "8": 2}])
        self.assertEqual(self.lines(pd.DataFrame(index=[0, 1])), [{}, {}])

    def test_list_elements(self) -> None:
        self.assertEqual(self.lines([{"a": 1}, "x", 2.5, [1, 2], None]),
                         [{"a": 1}, {"result": "x"}, {"result": 2.5}, {"c0": 1, "c1": 2}, {"result": None}])

    def test_rows_may_differ_and_have_no_schema(self) -> None:
        self.assertEqual(encoded([{"a": 1}, {"b": "é"}], "jsonl"), ('{"a":1}\n{"b":"é"}\n', None))

    def test_what_json_does_not_know(self) -> None:
        values = {
            "nan": float("nan"), "inf": float("inf"), "np": np.int64(3), "npnan": np.float32("nan"), "array": np.array([1.5, np.nan]),
            "na": pd.NA, "date": datetime.date(2024, 1, 2), "path": pathlib.PurePosixPath("/a"), "decimal": decimal.Decimal("1.5"),
            "deep": {"x": [float("nan"), {"y": (1, 2)}]}, "bool": np.bool_(True), 7: "key", (1, 2): "tuple key",
        }
        self.assertEqual(self.lines([values]), [{
            "nan": None, "inf": None, "np": 3, "npnan": None, "array": [1.5, None], "na": None, "date": "2024-01-02", "path": "/a",
            "decimal": "1.5", "deep": {"x": [None, {"y": [1, 2]}]}, "bool": True, "7": "key", "(1, 2)": "tuple key",
        }])

    def test_two_columns_of_one_name_are_refused(self) -> None:
        score = pd.DataFrame({"score": [0.1]})
        for frame, name in ((pd.concat([score, score], axis=1), "score"), (pd.DataFrame([[1, 2]], columns=[7, "7"]), "7")):
            with self.assertRaises(HostFailure) as caught:
                text(frame, "jsonl")
            self.assertEqual(caught.exception.code, "SCORER_OUTPUT_INVALID")
            self.assertIn(f"more than one column '{name}'", caught.exception.message)
            self.assertEqual(len(text(frame, "csv").split(",")), 2)

    def test_a_line_break_in_text_does_not_break_the_line(self) -> None:
        self.assertEqual(self.lines(["a\nb", "c\u2028d"]), [{"result": "a\nb"}, {"result": "c\u2028d"}])


class Tables(unittest.TestCase):
    def test_integers_with_a_gap_stay_integers(self) -> None:
        class OfPolars:
            """What is used of a DataFrame of Polars."""

            def to_dict(self, as_series: bool) -> Any:
                return {"n": [2**53 + 1, None], "x": [0.5, None], "s": ["a", None]}

        arrow = pa.table({"n": pa.array([2**53 + 1, None]), "x": [0.5, None], "s": ["a", None]})
        for result in (read_result(arrow), Frame(pandas_frame(OfPolars()))):
            for output_format, wanted in (
                ("csv", "9007199254740993,0.5,a\n,,\n"), ("azure", "9007199254740993 0.5 a\n  \n"),
                ("jsonl", '{"n":9007199254740993,"x":0.5,"s":"a"}\n{"n":null,"x":null,"s":null}\n'),
            ):
                out = io.BytesIO()
                encode(result, Encoding(output_format), out.write)
                self.assertEqual(out.getvalue().decode("utf-8"), wanted)


class Times(unittest.TestCase):
    def test_times_of_numpy_are_no_bare_integers(self) -> None:
        times = np.array(["2020-01-01", "NaT", "2020-01-01T00:00:00.000000001"], dtype="M8[ns]")
        iso = ["2020-01-01T00:00:00", None, "2020-01-01T00:00:00.000000001"]
        shown = ["2020-01-01 00:00:00", "", "2020-01-01 00:00:00.000000001"]
        records = pd.DataFrame({"t": times, "n": [1, 2, 3]}).to_records(index=False)
        for returned in (times, times.reshape(3, 1), records, [{"t": time} for time in times], list(times), list(records)):
            lines = [json.loads(line) for line in text(returned, "jsonl").splitlines()]
            self.assertEqual([next(iter(line.values())) for line in lines], iso)
            self.assertEqual([row[0] for row in csv.reader(text(returned, "csv").splitlines())], shown)
        self.assertEqual(text(times), "2020-01-01 00:00:00\nNaT\n2020-01-01 00:00:00.000000001\n")
        self.assertEqual(json.loads(text([{"t": times}], "jsonl")), {"t": iso})
        self.assertEqual(text(times.astype("M8[D]"), "csv"), '2020-01-01\n""\n2020-01-01\n')

    def test_durations_of_numpy_are_no_bare_integers(self) -> None:
        spans = np.array([1_500_000_000, "NaT"], dtype="m8[ns]")
        for returned in (spans, [{"result": span} for span in spans]):
            self.assertEqual(text(returned, "jsonl"), text(pd.DataFrame({"result": spans}), "jsonl"))
            self.assertEqual(text(returned, "csv"), '0 days 00:00:01.500000\n""\n')

    def test_without_pandas_they_are_in_microseconds(self) -> None:
        with mock.patch.dict(sys.modules, {"pandas": None}):
            self.assertEqual(plain_value(np.array(["2020-01-01T00:00:00.000001", "NaT"], "M8[ns]")), [datetime.datetime(2020, 1, 1, microsecond=1), None])
            self.assertEqual(plain_value(np.timedelta64(1_000_000_000, "ns")), datetime.timedelta(seconds=1))


class Refused(unittest.TestCase):
    def test_other_types_are_named(self) -> None:
        def generator() -> Any:
            yield 1

        for value, name in (
            (None, "NoneType. Is a return statement missing?"), ("text", "str"), (b"bytes", "bytes"), ({"a": 1}, "dict"),
            (generator(), "a generator; return a list"), (3, "int"), ({1}, "set"), (1.5, "float"), (range(3), "range"),
            (np.float32(1), "numpy.float32"), (np.zeros((1, 2, 3)), "an array of 3 dimensions"),
        ):
            with self.subTest(name), self.assertRaises(HostFailure) as caught:
                read_result(value)
            self.assertEqual(caught.exception.code, "SCORER_OUTPUT_INVALID")
            self.assertIn(f"It returned {name}", caught.exception.message)
            self.assertIn("must return a list or a DataFrame", caught.exception.message)


if __name__ == "__main__":
    unittest.main()
