"""Forking in tests: a child runs a function and ends by `os._exit`; one that hangs is killed and told."""

from __future__ import annotations

import os
import signal
import time
import traceback

ANSWERED, REFUSED, WRONG, HUNG = 0, 1, 2, -1
_NAPS = 3000


def in_child(function):
    """Forks; `function` returns whether the answer was right, or raises. Returns what became of the child.

    Its time is counted in naps of the parent, so that a machine that stops both for minutes stops the count too.
    """
    import draftwood as dw

    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            code = ANSWERED if function() else WRONG
        except dw.InvalidArgument as error:
            told = error.what in ("an engine in a forked process", "an object in a forked process") and error.hint
            code = REFUSED if told else WRONG
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    for _ in range(_NAPS):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HUNG
