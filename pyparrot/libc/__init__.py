"""The substitution of the C library: programs load a copy of theirs that has the shim in it.

The shim answers system calls without leaving the process (``csrc/shim/shim.h``). `elf` and `image`
read libraries, `arch` knows CPUs, `frames` describes stubs to unwinders, and `copy` makes one copy
of all that. `copies` are those that a session serves. `shared_state` and `shared_usage` are what
supervisor and shims tell each other; `substitution` puts it all together. `linker` makes images of
the shim for dynamic linkers that run, `linkers` are those that a session knows. `interpreter`
copies programs so that another dynamic linker loads them.
"""
