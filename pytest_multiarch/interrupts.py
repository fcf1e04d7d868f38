"""SIGTERM as an orderly end: without a handler Python dies of it, and pytest tears nothing down."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

__tracebackhide__ = True


class Terminated(KeyboardInterrupt):
    """SIGTERM came. pytest, and everybody else's code, takes it for what it is: an interrupt."""


def install(config: pytest.Config) -> None:
    """End orderly on SIGTERM until pytest unconfigures, unless somebody else has a handler for it."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        config.add_cleanup(_restore)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("SIGTERM")


def _restore() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
