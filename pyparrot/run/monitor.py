"""The monitor: the command's parent, which inherits its orphans and keeps the run going.

It reports what becomes of the command. If the supervisor or the tracer ends before the last of the
run's processes it starts another one: it has all that they share, and a duplicate of what calls
come by. If that fails, or if the frontend ends before the command, it ends all processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import NoReturn

from pyparrot.core import lib
from pyparrot.run import fds, given, tasks
from pyparrot.run.roles import Command, Run, say, say_died_with_tracer, tell

_TRIES = 3
_TRIES_SECONDS = 2.0
"""Nobody is started who would be the third to end in so many seconds."""

_END_SECONDS = 0.5
"""In which the tracer has ended, if all tasks have."""


def monitor(
    command: Sequence[str],
    variables: Sequence[bytes],
    run: Run,
    to_supervisor: socket.socket,
    from_command: socket.socket,
    from_supervisor: socket.socket,
) -> NoReturn:
    """Be the parent of the command and of all its orphans, until the last has ended.

    *variables* and *to_supervisor* are for the command: see `child.start`. *from_command* is the
    other end of the latter, for supervisors that take over: the command waits until one of them
    lets it begin. The supervisor sends what calls come by through *from_supervisor*
    (`pyparrot.run.roles.hand_on`).
    """
    from pyparrot.run import child as child_side

    status = 1
    try:
        lib.pp_become_subreaper()
        tracer = os.getppid()
        child = os.fork()
        if child == 0:
            from_command.close()
            from_supervisor.close()
            options, cookie = run.options, run.memory.cookie
            child_side.start(command, variables, run.given, to_supervisor, cookie, options.engine)
        to_supervisor.close()
        tell(run.to_frontend, b"P%d %d %d\n" % (child, os.getpid(), tracer))
        with contextlib.suppress(OSError):  # it may have been killed
            from_supervisor.send(b"%d" % os.getpid())
        # We stay in the command's group: from another one we would be to the kernel as a shell
        # whose job ends, and if somebody in the group is stopped all of it would get SIGHUP.
        given.spare_from_oom_killer()
        fds.redirect_to_null(0, 1)
        kept = {from_command.fileno(), from_supervisor.fileno(), *run.memory.descriptors}
        fds.close_inherited({run.to_frontend, *kept})
        started = Command(child, from_command)
        _Monitor(run, started, tracer, from_supervisor).keep()
        status = 0
    except Exception as error:
        tell(run.to_frontend, f"Erun: monitor: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


class _Helper:
    """A process of pyparrot's own that is not to end before the last task."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.descriptor = os.pidfd_open(number)
        self.endings: deque[float] = deque(maxlen=_TRIES)

    def replace(self, number: int) -> None:
        os.close(self.descriptor)
        self.number, self.descriptor = number, os.pidfd_open(number)

    def ends_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def ends_too_often(self) -> bool:
        now = time.monotonic()
        self.endings.append(now)
        return len(self.endings) == _TRIES and now - self.endings[0] < _TRIES_SECONDS


class _Monitor:
    def __init__(
        self, run: Run, command: Command, tracer: int, from_supervisor: socket.socket
    ) -> None:
        self._run = run
        self._command = command
        self._from_supervisor = from_supervisor
        self._listener = -1
        self._ended: int | None = None  # the command's wait status
        self._is_told = False
        self._supervisor = _Helper(run.supervisor)
        self._tracer = _Helper(tracer)
        self._poll = select.poll()

    def keep(self) -> None:
        """Return when all tasks have ended."""
        wake = self._hear_of_children()
        self._poll.register(self._from_supervisor, select.POLLIN)
        self._poll.register(self._supervisor.descriptor, select.POLLIN)
        self._poll.register(self._tracer.descriptor, select.POLLIN)
        self._poll.register(self._run.to_frontend, 0)
        while self._reap():
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            if self._from_supervisor.fileno() in ready:
                self._receive()
            if self._listener in ready:
                self._poll.unregister(self._listener)  # all have ended, and are about to be reaped
            elif self._run.to_frontend in ready:
                self._frontend_has_ended()
            elif self._supervisor.descriptor in ready:
                self._replace(self._supervisor, "supervisor")
            elif self._tracer.descriptor in ready:
                self._replace(self._tracer, "tracer")

    def _hear_of_children(self) -> int:
        """A descriptor that is ready when a child has changed its state."""
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        self._poll.register(wake, select.POLLIN)
        return wake

    def _receive(self) -> None:
        """The supervisor says what calls come by, or has ended before, and has said why."""
        self._poll.unregister(self._from_supervisor)
        try:
            _, received, _, _ = socket.recv_fds(self._from_supervisor, 1, 1)
        except OSError:  # it has not read what we had sent
            return
        if received:
            self._listener = received[0]
            os.set_inheritable(self._listener, False)
            self._poll.register(self._listener, 0)

    # The end

    def _reap(self) -> bool:
        """Wait for those that have ended; gives whether there may be anybody left."""
        is_anybody_left = True
        while True:
            try:
                child, status = os.waitpid(-1, os.WUNTRACED | os.WNOHANG)
            except ChildProcessError:
                is_anybody_left = False
                break
            if child == 0:
                break
            if child == self._command.number and os.WIFSTOPPED(status):
                tell(self._run.to_frontend, b"S%d\n" % os.WSTOPSIG(status))
            elif child == self._command.number:
                self._ended = status
        if is_anybody_left and self._listener >= 0:
            is_anybody_left = self._ended is None or not self._have_all_ended()
        if self._ended is not None and not self._is_told:
            self._is_told = True
            is_killed = os.WIFSIGNALED(self._ended) and os.WTERMSIG(self._ended) == signal.SIGKILL
            if is_killed and not is_anybody_left:
                self._explain_death()
            kind = b"L" if is_anybody_left else b"X"
            tell(self._run.to_frontend, b"%s%d\n" % (kind, self._ended))
        return is_anybody_left

    def _explain_death(self) -> None:
        """Say it if the command died with the tracer, and no other tracer is started to say so."""
        memory = self._run.memory.engine
        if lib.pp_engine_memory_held(memory) and self._tracer.ends_within(_END_SECONDS):
            count = lib.pp_engine_memory_held(memory)
            if count:
                say_died_with_tracer(count)

    def _have_all_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._listener, 0)
        return bool(poll.poll(0))

    def _frontend_has_ended(self) -> None:
        self._poll.unregister(self._run.to_frontend)
        if self._ended is None:
            self._end_tasks()  # it was killed, and stands for the command
        else:
            # A program that reads the command's output must not wait for its daemons.
            fds.redirect_to_null(2)

    def _end_tasks(self) -> None:
        tasks.kill_descendants({self._supervisor.number, self._tracer.number})

    def _give_up(self, why: str) -> None:
        self._end_tasks()
        tell(self._run.to_frontend, f"Erun: {why}\n".encode())
        self._is_told = True

    # Taking over

    def _replace(self, helper: _Helper, name: str) -> None:
        from pyparrot.run import takeover

        self._poll.unregister(helper.descriptor)
        if self._listener < 0:
            # Before the command has begun: it hears of that, and ends.
            self._give_up(f"the {name} was killed before the command began")
            return
        if self._have_all_ended():
            return
        hindrance = takeover.hindrance(self._run)
        if not hindrance and helper.ends_too_often():
            hindrance = "others have ended as well"
        if hindrance:
            why = f"no other one can go on ({hindrance}): the command was ended"
            self._give_up(f"the {name} was killed, and {why}")
            return
        say(f"the {name} was killed; another one goes on")
        start = takeover.supervise if name == "supervisor" else takeover.trace
        helper.replace(start(self._run, self._listener, self._command))
        self._poll.register(helper.descriptor, select.POLLIN)
        if helper is self._supervisor:
            tell(self._run.to_frontend, b"R%d\n" % helper.number)
