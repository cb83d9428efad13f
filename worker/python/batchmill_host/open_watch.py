"""One audit hook for all that wants to know which files user code opens."""

import sys
from typing import Tuple

from batchmill_host.appended import Appended
from batchmill_host.current_file import CurrentFile


def watch_opens(current: CurrentFile, appended: Appended) -> None:
    """Tells both of every file that Python opens. A hook cannot be removed, and sees every event of the interpreter: it must be cheap."""

    def on_event(event: str, args: Tuple[object, ...]) -> None:
        if event == "open":
            current.opened(args[0])
            appended.opened(args[0], args[2])

    sys.addaudithook(on_event)
