"""Types of the texts of a CSV column: the same cases as test/unit/scorer-text-types.test.ts has."""

import json
import os
import unittest
from typing import Any

from batchmill_host.carried import typed_texts

CASES = os.path.join(os.path.dirname(__file__), "..", "fixtures", "text-types.json")


def plain(value: Any) -> Any:
    """Integers that JSON would round, and infinities, are text in the cases."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return str(value) if value in (float("inf"), -float("inf")) else value


class TextTypes(unittest.TestCase):
    def test_cases(self) -> None:
        with open(CASES, encoding="utf-8") as file:
            cases = json.load(file)
        self.assertGreater(len(cases), 20)
        for case in cases:
            with self.subTest(texts=case["texts"]):
                kind, values = typed_texts(case["texts"])
                self.assertEqual(str(kind), case["type"])
                self.assertEqual([plain(value) for value in values], case["values"])


if __name__ == "__main__":
    unittest.main()
