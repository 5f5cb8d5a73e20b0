"""The shim: a preloaded library that answers system calls without leaving the process."""
