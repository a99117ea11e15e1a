"""A browser without a window, and the built pages served to it: for the PDF and for tests."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from organelle_fusion.config import UserError

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Programs that can print and test the pages, the first one found is taken."""


class BrowserError(UserError):
    """No browser is at hand, or there are no pages to show; the message is one line."""


def find_browser() -> str:
    """Path of a Chromium or Chrome, which all packages of Linux and macOS put on the PATH.

    Raises
    ------
    BrowserError
        There is none.
    """
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    raise BrowserError(
        f"browser: expected {', '.join(NAMES[:-1])} or {NAMES[-1]} on the PATH, found none; "
        "install one, on Debian by `apt install chromium`"
    )


@contextmanager
def open_browser() -> Iterator:
    """Start a browser, a `playwright.sync_api.Browser`, that reaches nothing but this machine.

    Without its sandbox, as is playwright's default: it opens only pages that we have built, and
    root could not start it otherwise.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise BrowserError(
            "playwright: expected an environment that `make` has made, found one without it; "
            "run `make pdf`, or install playwright and pypdf"
        ) from None
    path = find_browser()
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path,
                args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            )
        except Error as error:
            raise BrowserError(
                f"{path}: expected a browser that starts without a window, found: "
                f"{error.message.splitlines()[0]}; does `{path} --headless` run?"
            ) from None
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        """Say nothing of what was asked for."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP to this machine while the context lasts.

    Parameters
    ----------
    folder
        What is served.

    Yields
    ------
    str
        The address, without a slash at its end; the port is one that is free.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
