"""A headless Chromium, driven over a pipe by its DevTools protocol; no further package is needed.

Protocol: https://chromedevtools.github.io/devtools-protocol/ (JSON messages ended by a zero byte on
the descriptors 3 and 4).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network at all
    "--remote-debugging-pipe",
)
#: moves the given descriptors to 3 and 4 and becomes the browser
START = (
    "import os, sys; a, b = int(sys.argv[1]), int(sys.argv[2]); os.dup2(a, 3); os.dup2(b, 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)
KEYS = {" ": "Space", "Enter": "Enter"}


def find_browser() -> str | None:
    if sys.platform == "win32":
        return None  # the pipe needs other means there
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def _above(descriptor: int) -> int:
    """The same pipe under a free number above the 3 and 4 that the browser wants."""
    import fcntl  # Windows has none

    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20)
    os.close(descriptor)
    return moved


class Browser:
    """One page; `problems` collects what it logs as an error or throws."""

    def __init__(self, program: str) -> None:
        # descriptors above those that the child gives new meanings
        to_browser, self._write = map(_above, os.pipe())
        self._read, from_browser = map(_above, os.pipe())
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        words = [program, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(to_browser), str(from_browser), *words],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._pending, self._count = b"", 0
        self._session: str | None = None
        self.problems: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._count:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
            elif answer.get("method") == "Log.entryAdded":
                self.problems.append(json.dumps(answer["params"]["entry"])[:500])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise EOFError("the browser has ended")
            self._pending += chunk
        message, self._pending = self._pending.split(b"\0", 1)
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """The size of the window and the colour scheme; motion is reduced."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, calm])

    def open(self, path: Path, step: int = 1) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"{path.as_uri()}#{step}")
        for _ in range(400):
            if self.js("document.body?.dataset.ready") == "yes":
                return
            time.sleep(0.02)
        raise TimeoutError(f"{path} did not get ready; {self.problems}")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:800])
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as from the keyboard."""
        code = {"key": key, "code": KEYS.get(key, key)}
        text = {" ": " ", "Enter": "\r"}.get(key, key if len(key) == 1 else "")
        number = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
        more = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, windowsVirtualKeyCode=number, **code, **more
            )

    def click(self, selector: str) -> None:
        """The mouse, in the middle of an element."""
        box = self.js(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView?.("
            "{block: 'nearest'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def photograph(self) -> np.ndarray:
        """(height, width, 3), uint8."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def close(self) -> None:
        self._session = None
        with contextlib.suppress(OSError, EOFError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()
