"""Tells the worker node which file of the mini-batch user code has open, so that a crash names its file."""

from typing import Dict, Sequence

from batchmill_host.channel import Channel


class CurrentFile:
    """Follows every `open` (see open_watch.py): user code needs to do nothing, and it costs one dict lookup per open.

    Files opened inside C libraries raise no audit event and stay unnamed, unless the mini-batch has one file only.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sequence = 0
        self._index_of: Dict[str, int] = {}
        self.index = -1

    def begin(self, sequence: int, paths: Sequence[str]) -> None:
        self._sequence = sequence
        self.index = -1
        if len(paths) == 1:
            self._tell(0)
        self._index_of = {path: index for index, path in enumerate(paths)}

    def end(self) -> None:
        self._index_of = {}

    def opened(self, path: object) -> None:
        """User code opens ``path``, whatever it is."""
        if self._index_of and type(path) is str:
            index = self._index_of.get(path, -1)
            if index >= 0 and index != self.index:
                self._tell(index)

    def begin_file(self, index: int) -> None:
        """A scorer of ours begins a file, which it may open inside a C library."""
        if index != self.index:
            self._tell(index)

    def _tell(self, index: int) -> None:
        self.index = index
        self._channel.tell_file(self._sequence, index)
