"""What all tests rely on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Ctrl-C works, also where a background shell, in which it is ignored, started the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
