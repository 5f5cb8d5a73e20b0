"""The process that the user started: it proxies signals and the exit status.

Supervisor and monitor write to it through a pipe, a line for each message: ``P`` and the command's
process number, ``S`` when the command has been stopped, ``X`` and its wait status, ``E`` and why it
could not be started.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import threading
from typing import NoReturn

from pyparrot.errors import EXIT_FAILURE

_FORWARDED = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGWINCH,
}
_BY_KERNEL = 0x80
"""si_code of signals from the terminal, which the command gets as well."""

_STATS_SECONDS = 5.0


def wait(messages: int, wait_for_end: bool) -> int:
    """Wait until the command has ended, and end as it did; gives its exit status.

    *wait_for_end*: the supervisor's statistics are to be written before this process ends, if that
    does not take long.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    reader = os.fdopen(messages, "rb", buffering=0)
    pending = b""
    while True:
        data = reader.read(4096)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            kind, text = line[:1], line[1:]
            if kind == b"P":
                _forward_signals(int(text))
            elif kind == b"S":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif kind == b"E":
                print(f"pyparrot: {text.decode('utf-8', 'surrogateescape')}", file=sys.stderr)
                return EXIT_FAILURE
            elif kind == b"X":
                if wait_for_end:
                    select.select([reader], [], [], _STATS_SECONDS)
                return _end_like(int(text))
    print("pyparrot: run: the supervisor has ended before the command", file=sys.stderr)
    return EXIT_FAILURE


def _end_like(status: int) -> int:
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    # If there is to be a core file, the command has left it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.Signals(number)})
    os.kill(os.getpid(), number)
    return 128 + number


def _forward_signals(command: int) -> None:
    threading.Thread(target=_forward, args=(command,), daemon=True).start()


def _forward(command: int) -> NoReturn:
    while True:
        info = signal.sigwaitinfo(_FORWARDED)
        if info.si_code != _BY_KERNEL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(command, info.si_signo)
