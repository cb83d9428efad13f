#!/usr/bin/env python3
"""Writes test/fixtures/frames.json: frames that every implementation of docs/host-protocol.md is tested against.

Made from the page alone, with none of the project's own code, so that a mistake that both implementations share shows.

    python3 test/helpers/make_frame_vectors.py
"""

import binascii
import json
import os

LIMIT = 16 * 1024 * 1024


def little(number: int) -> bytes:
    return number.to_bytes(4, "little")


def frame(kind: int, payload: bytes) -> bytes:
    return little(len(payload)) + bytes([kind]) + little(binascii.crc32(bytes([kind]) + payload)) + payload


def flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


ready = json.dumps({"pid": 7, "initSeconds": 0.5}).encode()
rows = "scan-001.png 7 0.998\n\"d\u00e9p\u00f4t b.png\" 3 0.5\n".encode()
good = [
    ("stop, without payload", 3, b""),
    ("ready", 65, ready),
    ("rows with text beyond ASCII", 66, rows),
    ("rows with every byte", 66, bytes(range(256))),
    ("rows of one zero byte", 66, b"\0"),
    ("highest type", 255, b"x"),
]
vectors = [
    {"name": name, "outcome": "frame", "type": kind, "payload": payload.hex(), "frame": frame(kind, payload).hex()}
    for name, kind, payload in good
]
whole = frame(65, ready)
bad = [
    ("a bit of the payload differs", "corrupt", flipped(whole, len(whole) - 1)),
    ("a bit of the checksum differs", "corrupt", flipped(whole, 5)),
    ("a bit of the type differs", "corrupt", flipped(whole, 4)),
    ("checksum of the payload without the type", "corrupt", little(1) + b"\x42" + little(binascii.crc32(b"x")) + b"x"),
    ("one byte above the limit", "corrupt", little(LIMIT + 1) + b"\x42" + little(0)),
    ("text where a frame should be", "corrupt", b"print went here"),
    ("nothing", "incomplete", b""),
    ("part of a header", "incomplete", whole[:8]),
    ("a header alone", "incomplete", whole[:9]),
    ("all but the last byte", "incomplete", whole[:-1]),
    ("the limit itself, payload still to come", "incomplete", little(LIMIT) + b"\x42" + little(0)),
]
vectors += [{"name": name, "outcome": outcome, "frame": data.hex()} for name, outcome, data in bad]

target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "frames.json")
with open(target, "w", encoding="utf-8") as file:
    json.dump(vectors, file, indent=2)
    file.write("\n")
