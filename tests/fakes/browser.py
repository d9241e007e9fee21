"""A real browser without a window, as a person would use it: keys, clicks, and what they see (DevTools protocol)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

MISSING: Final = "no browser is installed here: apt-get install --no-install-recommends chromium"

_PATIENCE: Final = 180.0
_CHUNK: Final = 1 << 20
# What has `autofocus` gets it when the page is drawn, which may be after it is complete (HTML, section 6.6.7).
_DRAWN: Final = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))"
_STATUS: Final = "Failed to load resource: the server responded with a status of"
_KEYS: Final = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
_OPTIONS: Final = (
    *("--headless", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
    *(
        "--disable-features=OptimizationHints,MediaRouter",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ),
    "--window-size=900,900",
)
# Every control by the name that a screen reader says, in the order in which it reads them; hidden ones are none.
_CONTROLS: Final = """
[...document.querySelectorAll('a[href], button, input:not([type=hidden])')].map(each =>
  (each.getAttribute('aria-label') || (each.labels && each.labels.length ? each.labels[0].innerText : each.innerText)))
"""
# The poorest contrast of any text with what is behind it (WCAG 2.2, success criterion 1.4.3).
_CONTRAST: Final = """(() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number)
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  const light = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0)
  const behind = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor)
      if (found.length < 4 || found[3] > 0) return light(found)
    }
    return 1
  }
  return Math.min(...[...document.body.querySelectorAll('*')].filter((each) =>
    [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim())).map((each) => {
      const [dark, bright] = [light(parts(getComputedStyle(each).color)), behind(each)].sort((a, b) => a - b)
      return (bright + 0.05) / (dark + 0.05)
    }))
})()"""


class BrowserError(Exception):
    """The browser does not do what it was told."""


@dataclass
class Browser:
    """One tab.

    Args:
        inward: file descriptor to write to it.
        outward: file descriptor to read from it.
        complaints: what its console says of errors, and of what a page's policy forbade.
        asked: URLs that it fetched.
    """

    inward: int
    outward: int
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _events: deque[dict[str, Any]] = field(default_factory=deque)
    _rest: bytes = b""
    _number: int = 0
    _session: str = ""

    def begin(self) -> None:
        """Open the tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self.inward, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while (found := self._read(deadline)).get("id") != self._number:
            self._events.append(found)
        if "error" in found:
            raise BrowserError(f"{method}: {found['error']}")
        result: dict[str, Any] = found["result"]
        return result

    def open(self, url: str) -> None:
        """Go there, as somebody who types it."""
        self._arriving(lambda: self.call("Page.navigate", url=url))

    def click(self, name: str) -> None:
        """Click what has that name, as somebody with a mouse; a page must follow."""
        wanted = f"(each) => (each.ariaLabel || each.innerText) === {json.dumps(name)}"
        find = f"[...document.querySelectorAll('a, button')].find({wanted})"
        box = self.run(
            f"(() => {{ const r = {find}.getBoundingClientRect(); return [r.x + r.width/2, r.y + r.height/2] }})()"
        )
        where = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}

        def press() -> None:
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, **where)

        self._arriving(press)

    def press(self, key: str) -> None:
        """Press a key."""
        code, text = _KEYS[key]
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def enter(self) -> None:
        """Press Enter; a page must follow."""
        self._arriving(lambda: self.press("Enter"))

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self.call("Input.insertText", text=text)

    def tabbed(self) -> list[str]:
        """Names of what the keyboard reaches, in its order, from the top of the page."""
        self.run("document.body.tabIndex = -1; document.body.focus()")
        found = []
        for _ in self.controls:
            self.press("Tab")
            found.append(self.focused)
        return found

    @property
    def controls(self) -> list[str]:
        """Names of everything that can be used, in reading order."""
        found: list[str] = self.run(_CONTROLS)
        return found

    @property
    def focused(self) -> str:
        """Name of what has the focus."""
        found: str = self.run(
            f"[{_CONTROLS}].flat()[[...document.querySelectorAll('a[href], button, "
            "input:not([type=hidden])')].indexOf(document.activeElement)] || ''"
        )
        return found

    @property
    def url(self) -> str:
        """Where it is."""
        found: str = self.run("location.href")
        return found

    @property
    def text(self) -> str:
        """What can be read."""
        found: str = self.run("document.body.innerText")
        return found

    @property
    def contrast(self) -> float:
        """Of the text that is hardest to read; 21 at most."""
        found: float = self.run(_CONTRAST)
        return found

    def run(self, expression: str) -> Any:  # noqa: ANN401 - any JSON
        """What an expression gives; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def look(self, *, dark: bool = False, width: int = 900) -> bytes:
        """A picture (PNG) of the page as it is now, in those colors and that wide."""
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=720, deviceScaleFactor=1, mobile=width < 500
        )
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def complained(self) -> str:
        """What its console says of errors next, which may be after the page is there; it is told once."""
        deadline = time.monotonic() + _PATIENCE
        while not self.complaints:
            if time.monotonic() > deadline:
                raise BrowserError("the console has nothing to say")
            self.run("0")
            self._drain()
            time.sleep(0.05)
        return self.complaints.pop()

    def foreign(self) -> list[str]:
        """URLs that it fetched from beyond this machine."""
        return [url for url in self.asked if urlsplit(url).hostname not in {"127.0.0.1", "localhost"}]

    def _arriving(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait until that one is there, forms that send themselves included."""
        self._drain()
        before = self.run("performance.timeOrigin")
        act()
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(BrowserError):  # a page may leave while it is asked
                state = self.run("[performance.timeOrigin, document.readyState, document.scripts.length]")
                self._drain()
                if state[0] != before and state[1:] == ["complete", 0] and self.run(_DRAWN):
                    return
            time.sleep(0.05)
        raise BrowserError(f"no other page came: {self.url}: {self.text[:500]}")

    def _drain(self) -> None:
        while self._events:
            event = self._events.popleft()
            found = event.get("params", {})
            if event.get("method") == "Network.requestWillBeSent":
                self.asked.append(found["request"]["url"])
            elif event.get("method") == "Log.entryAdded" and not found["entry"]["text"].startswith(_STATUS):
                self.complaints.append(f"{found['entry']['text']} {found['entry'].get('url', '')}")
            elif event.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(found["exceptionDetails"]))

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self.outward], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError("the browser does not answer")
            if not (found := os.read(self.outward, _CHUNK)):
                raise BrowserError("the browser has ended")
            self._rest += found
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


def program() -> str | None:
    """Where the browser is, if it is installed."""
    return shutil.which("chromium")


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with nothing in it.

    Args:
        folder: for its profile and its log.
    """
    path = program()
    if path is None:
        raise BrowserError(MISSING)
    theirs, inward = os.pipe()
    outward, answers = os.pipe()
    log = os.open(folder / "browser.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in ((log, 1), (log, 2), (theirs, 3), (answers, 4))]
    command = [path, *_OPTIONS, *root, f"--user-data-dir={folder / 'profile'}"]
    pid = os.posix_spawn(path, command, dict(os.environ), file_actions=actions, setpgroup=0)
    for each in (theirs, answers, log):
        os.close(each)
    try:
        browser = Browser(inward, outward)
        browser.begin()
        yield browser
    finally:
        os.close(inward)
        os.close(outward)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
