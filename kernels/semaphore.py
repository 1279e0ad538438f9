"""A place to sleep, given by the operating system, that compiled code can use without Python.

A `Semaphore` is a count: `wait` sleeps until it is above 0 and takes 1 away, `post` adds 1 and
wakes a sleeper. Compiled code calls them by address (`atomic.call_system`) with the arguments
given here, so that a thread can sleep and wake without asking for Python's lock.
"""

import ctypes
import sys
from typing import Any


class Semaphore:
    """One semaphore, with a count of 0.

    wait, post   how to call them: (address of the function, three arguments)
    """

    wait: tuple[int, int, int, int]
    post: tuple[int, int, int, int]

    def __init__(self) -> None:
        if sys.platform == "win32":
            self._windows()
        elif sys.platform == "darwin":
            self._macos()
        else:
            self._posix()

    def _posix(self) -> None:
        """sem_init, sem_wait, sem_post: POSIX.1-2008."""
        library: Any = ctypes.CDLL(None, use_errno=True)
        self._memory = ctypes.create_string_buffer(128)  # more than any system's sem_t
        place = (ctypes.addressof(self._memory) + 63) // 64 * 64
        if library.sem_init(ctypes.c_void_p(place), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "sem_init failed")
        self.wait = (function_address(library.sem_wait), place, 0, 0)
        self.post = (function_address(library.sem_post), place, 0, 0)

    def _macos(self) -> None:
        """Grand Central Dispatch; macOS has no unnamed POSIX semaphores."""
        library: Any = ctypes.CDLL(None)
        library.dispatch_semaphore_create.restype = ctypes.c_void_p
        library.dispatch_semaphore_create.argtypes = [ctypes.c_long]
        handle = library.dispatch_semaphore_create(0)
        forever = -1  # DISPATCH_TIME_FOREVER
        self.wait = (function_address(library.dispatch_semaphore_wait), handle, forever, 0)
        self.post = (function_address(library.dispatch_semaphore_signal), handle, 0, 0)

    def _windows(self) -> None:
        library: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
        library.CreateSemaphoreW.restype = ctypes.c_void_p
        handle = library.CreateSemaphoreW(None, 0, 0x7FFFFFFF, None)
        infinite = 0xFFFFFFFF
        self.wait = (function_address(library.WaitForSingleObject), handle, infinite, 0)
        self.post = (function_address(library.ReleaseSemaphore), handle, 1, 0)


def function_address(function: Any) -> int:
    """Where a foreign function starts, for `atomic.call_system`."""
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
