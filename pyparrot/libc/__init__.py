"""The shim: what answers system calls without leaving the process, and how it gets there."""
