"""Build the C core through cffi, and the shim beside it; everything else is in pyproject.toml.

Before anything else, the header is made that the C has from the table of system calls.
"""

import os
import runpy
from glob import glob

from setuptools import setup
from setuptools.command.build_ext import build_ext

SHIM = "pyparrot/libc/libpyparrot.so"
FLAGS = [
    *("-std=c11", "-O2", "-fPIC", "-Icsrc"),
    # It runs in other people's processes: no libc, no vector registers, nothing exported, and
    # frames that can be unwound.
    *("-ffreestanding", "-fno-stack-protector", "-U_FORTIFY_SOURCE"),
    *("-mgeneral-regs-only", "-mpreferred-stack-boundary=3"),
    *("-fvisibility=hidden", "-fomit-frame-pointer", "-fasynchronous-unwind-tables"),
    *("-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra"),
    # Or it is chance whether a short copy takes a tenth more time.
    "-falign-loops=32",
    # It becomes a part of another library: one segment of code, one of zeros, nothing to relocate.
    *("-shared", "-nostdlib", "-Wl,-z,noseparate-code,-z,norelro,-z,noexecstack"),
    "-Wl,-Bsymbolic,--hash-style=gnu,--build-id=none,-soname,libpyparrot.so",
]


class BuildWithShim(build_ext):
    """Build the extension, and the shim: a library that nobody ever loads as it is."""

    def run(self) -> None:
        """Build both."""
        super().run()
        top = os.path.dirname(self.get_ext_fullpath("pyparrot"))
        folders = ("csrc/core", "csrc/shim", f"csrc/arch/{os.uname().machine}")
        sources = [source for folder in folders for source in glob(f"{folder}/*.[cS]")]
        target = os.path.join(top, SHIM)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        compiler = os.environ.get("CC", "cc").split()
        self.spawn([*compiler, *FLAGS, "-o", target, *sorted(sources)])


runpy.run_path("csrc/generate.py")["write_header"]()
setup(
    cffi_modules=["csrc/python/ffi_build.py:build"],
    cmdclass={"build_ext": BuildWithShim},
)
