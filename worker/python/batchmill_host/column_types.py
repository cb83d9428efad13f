"""Types of columns as data and as text, the same texts as in common/format/column-type.ts."""

import re
from typing import List, NamedTuple, Optional, Tuple


class Type(NamedTuple):
    """``kind`` is null, bool, utf8, binary, date32, int, uint, float, timestamp, list or struct; the others as it needs them."""

    kind: str
    bits: int = 0
    unit: str = ""
    zone: str = ""
    item: Optional["Type"] = None  # type: ignore[misc]
    fields: Tuple[Tuple[str, "Type"], ...] = ()  # type: ignore[misc]

    def __str__(self) -> str:
        if self.kind in ("int", "uint", "float"):
            return f"{self.kind}{self.bits}"
        if self.kind == "timestamp":
            return f"timestamp[{self.unit}{',' + self.zone if self.zone else ''}]"
        if self.kind == "list":
            return f"list<{self.item}>"
        if self.kind == "struct":
            return f"struct<{','.join(f'{name}:{kind}' for name, kind in self.fields)}>"
        return self.kind


NULL, BOOL, UTF8, BINARY, DATE = Type("null"), Type("bool"), Type("utf8"), Type("binary"), Type("date32")
INT64, FLOAT64 = Type("int", 64), Type("float", 64)


def list_of(item: Type) -> Type:
    return Type("list", item=item)


def parse_type(text: str) -> Optional[Type]:
    """None for a text that names no type."""
    number = re.fullmatch(r"(u?int)(8|16|32|64)|(float)(16|32|64)", text)
    if number:
        return Type(number[1] or number[3], int(number[2] or number[4]))
    time = re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:,\s*([^\]\s]+))?\]", text)
    if time:
        return Type("timestamp", unit=time[1], zone=time[2] or "")
    if text.startswith("list<") and text.endswith(">"):
        item = parse_type(text[5:-1])
        return item and list_of(item)
    if text.startswith("struct<") and text.endswith(">"):
        pairs = [part.partition(":") for part in _outer_parts(text[7:-1])]
        kinds = [(name, parse_type(kind)) for name, _, kind in pairs]
        return Type("struct", fields=tuple((name, kind) for name, kind in kinds if kind)) if all(kind for _, kind in kinds) else None
    return Type(text) if text in ("null", "bool", "utf8", "binary", "date32") else None


def _outer_parts(text: str) -> List[str]:
    """Parts between the commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for at, symbol in enumerate(text):
        depth += (symbol in "<[") - (symbol in ">]")
        if symbol == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def widens(own: Type, wanted: Type) -> bool:
    """Null into anything, integers into wider ones and into float64 (value by value), floats into larger ones, lists by their items."""
    if own.kind == "null":
        return True
    if own.item and wanted.item:
        return widens(own.item, wanted.item)
    if own.kind == "float":
        return wanted.kind == "float" and own.bits <= wanted.bits
    if own.kind not in ("int", "uint"):
        return own == wanted
    if wanted.kind == "float":
        return wanted.bits == 64 or own.bits < wanted.bits / 2
    if own.kind == wanted.kind:
        return own.bits <= wanted.bits
    return wanted.kind == "int" and own.bits < wanted.bits


def split_column(text: str) -> Tuple[str, str]:
    """``name:type`` taken apart; a name may have colons, a type has none in front of its first bracket."""
    for match in re.finditer(":", text):
        kind = text[match.end():]
        if re.fullmatch(r"\w+(?:[<\[].*[>\]])?", kind, re.ASCII):
            return text[: match.start()], kind
    return text, ""
