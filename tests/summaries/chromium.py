"""A headless Chromium, driven through its debugging pipe: no port, no further package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# The text of the page, that inside of shadow trees too, where TensorBoard's own elements keep it.
TEXT = """
(function text(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.nodeValue;
  if (['STYLE', 'SCRIPT', 'TEMPLATE'].includes(node.nodeName)) return '';
  const roots = node.shadowRoot ? [node.shadowRoot] : [];
  return [...roots, ...node.childNodes].map(text).join(' ');
})(document.documentElement)
"""

# Clicks the innermost element whose text is the given one.
_CLICK = """
(function click(node, text) {
  const roots = node.shadowRoot ? [node.shadowRoot] : [];
  for (const child of [...roots, ...node.children]) if (click(child, text)) return true;
  if (!node.click || (node.textContent || '').trim() !== text) return false;
  node.click();
  return true;
})(document.documentElement, %s)
"""


def installed() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser with one page; ends with the `with`."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        switches = (
            f"--headless=new --no-sandbox --disable-gpu --no-first-run --user-data-dir={profile}"
        )
        line = f'exec "$0" {switches} --window-size=1500,1100 --remote-debugging-pipe 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, program],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._rest = b""
        self._number = 0
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attach = {"targetId": target, "flatten": True}
        self._session = self._call("Target.attachToTarget", attach)["sessionId"]

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._out)  # which ends it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def open(self, address: str) -> None:
        """Goes to a page."""
        self._call("Page.navigate", {"url": address}, page=True)

    def text_with(self, *words: str, within: float = 60.0) -> str:
        """The page's text as soon as it holds all `words`, or as it is after `within` seconds."""
        pause, end = threading.Event(), time.monotonic() + within
        while True:
            arguments = {"expression": TEXT, "returnByValue": True}
            found = self._call("Runtime.evaluate", arguments, page=True)["result"].get("value", "")
            if all(word in found for word in words) or time.monotonic() > end:
                return str(found)
            pause.wait(0.1)  # the page tells nobody when it is complete

    def click(self, text: str) -> bool:
        """Clicks what is labelled so; whether there was such a thing."""
        arguments = {"expression": _CLICK % json.dumps(text), "returnByValue": True}
        return bool(self._call("Runtime.evaluate", arguments, page=True)["result"]["value"])

    def screenshot(self) -> bytes:
        """The page as a PNG file, once nothing on it moves (or after 10 seconds)."""
        pause, before = threading.Event(), ""
        for _ in range(20):
            now = str(self._call("Page.captureScreenshot", {}, page=True)["data"])
            if now == before:
                break
            before = now
            pause.wait(0.5)
        return base64.b64decode(now)

    def _call(self, method: str, arguments: dict[str, Any], page: bool = False) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if page:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _read(self) -> bytes:
        while b"\0" not in self._rest:
            found = os.read(self._in, 1 << 20)
            if not found:
                raise RuntimeError(f"the browser ended with status {self._process.wait(10)}")
            self._rest += found
        message, _, self._rest = self._rest.partition(b"\0")
        return message
