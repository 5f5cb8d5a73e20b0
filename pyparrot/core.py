"""The C core (``csrc/``) as Python sees it: the one module that imports the extension `_core`.

`lib` has the functions and constants, `ffi` makes and reads C data. Both are typed, and so is each
struct: a ``struct pp_walk``, or a pointer to one, is a `PpWalk`. These classes exist for the type
checker alone (``if TYPE_CHECKING: from pyparrot.core import PpWalk``).

**Which code writes which struct.** C reads all of these without the GIL and mostly without locks,
in many threads at once. So each has its writers, and Python must keep alive whatever C refers to.
"Published" means: all is filled in first, then one word is stored that leads to it (x86-64 keeps
the order of stores). What several C threads write they write atomically.

===================================  ===============================================================
``pp_index_header``, ``pp_record``,  no process: they are an index file, mapped read-only
``pp_slot``
``pp_row``, ``pp_listing``,          the thread that builds an index file; no other knows them
``pp_builder``
``pp_index``                         the thread that opens it. After that `SharedState` sets
                                     ``touched`` once, under its lock, before the index is told to
                                     shims; nothing else ever changes
``pp_snapshot``, ``pp_mounted``      `Snapshot`, under its lock, from any thread of the process. A
                                     catalog is added in place, its ``hash`` last; for anything else
                                     a new struct is made, and the old one stays as it is
``pp_walk``, ``pp_found``            the thread that walks, for that walk
``pp_mounts``, ``pp_mount_slot``,    `MountMemory`, called by `MountTable` under its lock, in memory
``pp_mount``,                        that shims map read-only (or in the supervisor's own, once that
``pp_negative_entry``                is full). Published when all is filled in; they never change
``pp_snapshots``                     `MountTable`, under its lock: each pointer, to a `Snapshot`'s
                                     struct, at once; for more mounts a new struct is made
``pp_namespace``                     `MountTable`, under its lock: ``snapshots`` and ``mounts``, at
                                     once each; the rest at first. A shim has one of its own
``pp_engine``, ``pp_notify``         the engine's constructor, before it starts; then C alone:
                                     ``idle``, any worker
``pp_engine_memory``                 workers and the tracer's threads (C), atomically, as
                                     ``csrc/engine/engine_memory.h`` says; it outlives them all
``pp_engine_operations``             no process: they are constants of an engine in C
``pp_hook``                          C, before the engine starts (`pp_substitution_register`)
``pp_worker``, ``pp_counters``       C, in the worker's own thread. Counters: engine memory.
                                     Python adds them up meanwhile: each number is right, together
                                     they may be of two moments
``pp_event``                         C, in the worker's own thread: valid until the worker is asked
                                     for the next
``pp_call``, ``pp_place``            C, in the worker's own thread, while ``pp_worker_serve`` runs.
                                     When that returns with a need, `Fetcher` in the same thread,
                                     until it is called again; no other thread ever
``pp_substitution``, ``pp_copy``     `Shim` before the command starts (``state``, ``tells``,
                                     ``filters``); `LibcCopies`, under its lock: a copy, then
                                     ``copies_count``. ``starts`` is C's, any worker
``pp_shared_state``,                 the supervisor alone, in memory that shims map read-only.
``pp_shared_catalog``                `SharedState`, under its lock, appends and publishes; workers
                                     (C) count ``directories``. Both set ``flags``, atomically
``pp_shared_usage``                  all shims, in their processes, and the engine's workers;
                                     atomically, and Python only reads. A program can write anything
                                     there, so nothing in it is believed
===================================  ===============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyparrot._core import ffi, lib

if TYPE_CHECKING:
    from pyparrot._core import *  # noqa: F403  # the structs' classes

__all__ = ["ffi", "lib"]
