"""batchmill_host.frames against test/fixtures/frames.json, which common/core/frame.ts is tested against too."""

import json
import os
import socket
import unittest

from batchmill_host.frames import Frame, FrameCorrupt, frame_header, read_frame, write_frame

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "frames.json")
with open(FIXTURE, encoding="utf-8") as _file:
    VECTORS = json.load(_file)
GOOD = [vector for vector in VECTORS if vector["outcome"] == "frame"]


class Stream:
    """Gives what arrives: each piece by itself, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, count: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces[0][:count]
        self._pieces[0] = self._pieces[0][count:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece


class FrameVectors(unittest.TestCase):
    def test_there_are_vectors_of_every_kind(self) -> None:
        counts = [sum(v["outcome"] == kind for v in VECTORS) for kind in ("frame", "corrupt", "incomplete")]
        self.assertGreaterEqual(min(counts), 5)

    def test_good_ones_are_written_and_read(self) -> None:
        for vector in GOOD:
            with self.subTest(vector["name"]):
                payload, whole = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["frame"])
                self.assertEqual(frame_header(vector["type"], payload) + payload, whole)
                self.assertEqual(read_frame(Stream(whole).read), Frame(vector["type"], payload))

    def test_corrupt_ones_are_refused(self) -> None:
        for vector in VECTORS:
            if vector["outcome"] == "corrupt":
                with self.subTest(vector["name"]), self.assertRaises(FrameCorrupt):
                    read_frame(Stream(bytes.fromhex(vector["frame"])).read)

    def test_the_end_of_the_stream_is_no_frame(self) -> None:
        for vector in VECTORS:
            if vector["outcome"] == "incomplete":
                with self.subTest(vector["name"]):
                    self.assertIsNone(read_frame(Stream(bytes.fromhex(vector["frame"])).read))

    def test_a_stream_cut_anywhere_gives_the_same_frames(self) -> None:
        stream = b"".join(bytes.fromhex(vector["frame"]) for vector in GOOD)
        wanted = [Frame(vector["type"], bytes.fromhex(vector["payload"])) for vector in GOOD]
        for cut in range(len(stream) + 1):
            source = Stream(stream[:cut], stream[cut:])
            self.assertEqual([read_frame(source.read) for _ in GOOD], wanted, f"cut at {cut}")
            self.assertIsNone(read_frame(source.read))

    def test_a_frame_larger_than_the_socket_buffer_arrives_whole(self) -> None:
        ours, theirs = socket.socketpair()
        payload = bytes(range(256)) * 16_384
        child = os.fork()
        if child == 0:
            ours.close()
            write_frame(theirs.fileno(), 66, payload)
            os._exit(0)
        theirs.close()
        self.assertEqual(read_frame(ours.recv), Frame(66, payload))
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        ours.close()


if __name__ == "__main__":
    unittest.main()
