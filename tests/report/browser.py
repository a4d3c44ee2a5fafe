"""A headless Chromium, driven by its DevTools protocol over two pipes: messages are JSON, each ended by a zero byte."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
ANSWER_WITHIN_S = 60.0
# Chromium reads messages from descriptor 3 and writes to 4.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """The browser as a whole."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._pending = b""
        self._num_calls = 0
        self.events: list[dict[str, Any]] = []
        """Everything that was told without being asked for."""

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Do something and wait for the answer."""
        self._num_calls += 1
        number = self._num_calls
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self.events.append(told)

    def wait_for(self, method: str, session: str) -> None:
        """Wait for an event of a session."""
        if any(event["method"] == method and event.get("sessionId") == session for event in self.events):
            return
        while True:
            told = self._next()
            self.events.append(told)
            if told["method"] == method and told.get("sessionId") == session:
                return

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new tab, closed at the end."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        yield Tab(self, session)
        self.call("Target.closeTarget", targetId=target)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._from], [], [], ANSWER_WITHIN_S)
            assert ready, f"the browser said nothing for {ANSWER_WITHIN_S:g} s"
            read = os.read(self._from, 1 << 20)
            assert read, "the browser has ended"
            self._pending += read
        message, _, self._pending = self._pending.partition(b"\0")
        return json.loads(message)


class Tab:
    """One page at a time."""

    def __init__(self, owner: Browser, session: str) -> None:
        self._owner, self._session = owner, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Do something in this tab."""
        return self._owner.call(method, self._session, **params)

    def open(self, page: Path, *, dark: bool = False, width: int = 1280, scripts: bool = True) -> None:
        """Load a page and wait until it is there."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self._owner.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self._owner.wait_for("Page.loadEventFired", self._session)

    def value(self, expression: str) -> Any:
        """What an expression in the page's language comes to."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Enter": (13, "\r"), "Tab": (9, ""), " ": (32, " ")}
        code, text = codes[key]
        shared = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """What is seen as a picture, or the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings that the console was told."""
        told = [event for event in self._owner.events if event.get("sessionId") == self._session]
        of = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in told if event["method"] in of]

    @property
    def requested(self) -> list[str]:
        """Every address that was asked for; pictures within the page have none."""
        told = [event for event in self._owner.events if event.get("sessionId") == self._session]
        asked = [event["params"]["request"]["url"] for event in told if event["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start one, and end it."""
    read_by_it, to_browser = os.pipe()
    from_browser, written_by_it = os.pipe()
    command = [
        sys.executable, "-c", LAUNCHER, str(read_by_it), str(written_by_it), program, *FLAGS,
        f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    ends = (read_by_it, written_by_it)
    process = subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for end in ends:
            os.close(end)
        made = Browser(to_browser, from_browser)
        yield made
        made.call("Browser.close")
        process.wait(timeout=ANSWER_WITHIN_S)
    finally:
        process.kill()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
