"""Ctrl-C and SIGTERM while training: finish the step, save, and exit.

The exit code is 128 + the signal's number: 130 after Ctrl-C (SIGINT), 143 after SIGTERM. A second
signal ends the program at once, with 130; the last checkpoint is whole even then. Windows has no
SIGTERM from outside; there only Ctrl-C counts.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Called with no arguments: has the user asked to stop?"""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What the program ends with after the request."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first signal into a request; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python allows no handlers, signals do what they did before.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request():
            raise KeyboardInterrupt
        request.signal = number
        with suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, b"\nstopping after this step (again: at once) ...\n")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
