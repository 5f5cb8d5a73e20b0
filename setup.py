"""Build the C core through cffi, the shim, and the command; everything else is in pyproject.toml.

Before anything else, the header is made that the C has from the table of system calls.
"""

import os
import runpy
import subprocess
import sys
from glob import glob

from setuptools import setup  # isort: skip
from distutils.command.build_scripts import build_scripts  # setuptools' own, once that is imported

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

COMMAND = "pyparrot"
COMMAND_FLAGS = [
    *("-std=c11", "-O2", "-Icsrc", "-Wall", "-Wextra"),
    # It starts before all that the user has set up for C libraries, so it has none.
    *("-ffreestanding", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-mgeneral-regs-only"),
    *("-fno-tree-loop-distribute-patterns", "-fno-pie", "-no-pie", "-static", "-nostdlib"),
    *("-Wl,--build-id=none,-z,noexecstack,-z,noseparate-code", "-s"),
]


class BuildCommand(build_scripts):
    """Build the program that is installed as the command; it is no script."""

    def run(self) -> None:
        """Build it for the Python that runs this."""
        self.mkpath(self.build_dir)
        target = os.path.join(self.build_dir, COMMAND)
        definitions = [f'-DPP_PYTHON="{sys.executable}"']
        plain = {n: v for n, v in os.environ.items() if n != "LD_LIBRARY_PATH"}
        if subprocess.run([sys.executable, "-c", ""], env=plain, check=False).returncode:
            definitions.append("-DPP_KEEP_LIBRARY_PATH=1")
        compiler = os.environ.get("CC", "cc").split()
        source = "csrc/launcher/launcher.c"
        self.spawn([*compiler, *COMMAND_FLAGS, *definitions, "-o", target, source])


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
    cmdclass={"build_ext": BuildWithShim, "build_scripts": BuildCommand},
    scripts=["csrc/launcher/launcher.c"],  # what BuildCommand makes the command of
)
