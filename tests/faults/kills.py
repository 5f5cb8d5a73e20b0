"""Processes of a run are killed at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

from support.runs import processes_with

from faults import outcome
from faults.faults import Fault
from faults.outcome import Outcome

_NAMES = ("frontend", "supervisor", "tracer", "monitor")
"""From parent to child, as long as none was replaced."""

_ROUNDS = 12
_LONGEST = 1.2  # seconds: most runs of so many rounds take longer


class _Process:
    """A process of pyparrot's in a run, by what it is to the others."""

    def __init__(self, number: int, parent: int) -> None:
        self.number = number
        self.parent = parent


def own_processes(mark: str) -> list[_Process]:
    """pyparrot's own processes of the run whose command lines have *mark*, ancestors first."""
    found = {}
    for number in processes_with(mark):
        with contextlib.suppress(OSError, ValueError):
            line = Path(f"/proc/{number}/cmdline").read_bytes()
            if b"\0run\0--shim\0" not in line:
                continue  # a process of the job
            stat = Path(f"/proc/{number}/stat").read_text()
            found[number] = _Process(number, int(stat.rpartition(")")[2].split()[1]))
    ordered = [process for process in found.values() if process.parent not in found]
    for process in ordered:
        ordered.extend(child for child in found.values() if child.parent == process.number)
    return ordered


class Kills(Fault):
    """Any of pyparrot's own processes gets SIGKILL once, or up to three times in a row.

    The frontend's death ends the job; each other one either ends it, with a word, or changes
    nothing.
    """

    name = "kills"

    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """See `Fault.try_in`."""
        is_cold = chance.random() < 0.5
        cache = scratch / "cache" if is_cold else self.setting.copy_of_warm_cache(scratch)
        moments = sorted(chance.random() * _LONGEST for _ in range(chance.choice((1, 1, 1, 3))))
        happened: list[str] = []
        stop = threading.Event()
        killer = threading.Thread(
            target=self._kill, args=(str(cache), moments, chance, happened, stop)
        )
        killer.start()
        try:
            ended = self.setting.run(cache, rounds=_ROUNDS)
        finally:
            stop.set()
            killer.join()
        steps, _, last = self.setting.native.rstrip("\n").rpartition("\n")
        native = (steps + "\n") * _ROUNDS + last + "\n"
        found = outcome.judge(ended, native)
        # The last may be the command, before it has become another program.
        if {"frontend", "last"} & set(happened) and ended.status == -signal.SIGKILL:
            found = Outcome("left" if ended.left else "clean", "it was killed itself")
        fault = f"{'cold' if is_cold else 'warm'}: {', '.join(happened) or 'nothing in time'}"
        return fault, self.then_healed(found, cache)

    @staticmethod
    def _kill(
        mark: str,
        moments: list[float],
        chance: random.Random,
        happened: list[str],
        stop: threading.Event,
    ) -> None:
        started = time.monotonic()
        for moment in moments:
            if stop.wait(max(0.0, started + moment - time.monotonic())):
                return
            processes = own_processes(mark)
            if not processes:
                return
            place = chance.randrange(len(processes))
            victim = processes[place]
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.number, signal.SIGKILL)
                happened.append(_NAMES[place] if place < len(_NAMES) else "last")
