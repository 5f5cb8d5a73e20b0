"""Describe the C core to cffi (API mode, out of line): the module ``pyparrot._core``."""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef("""
    size_t pp_chunk_cut(const uint8_t *data, size_t length,
                        size_t minimum, size_t average, size_t maximum);
    int syncfs(int fd);
""")

ffibuilder.set_source(
    "pyparrot._core",
    """
    #include <unistd.h>
    #include "chunk.h"
    """,
    sources=["csrc/chunk.c"],
    include_dirs=["csrc"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
    depends=["csrc/chunk.h"],
)
