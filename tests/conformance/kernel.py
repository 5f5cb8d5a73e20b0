"""The kernel's calls and constants by their names, for x86-64; Python knows but some of them."""

from __future__ import annotations

import fcntl
import os
import socket

CALLS = """
0 read fd buf
1 write fd text
2 open path int int
3 close fd
4 stat path stat
5 fstat fd stat
6 lstat path stat
8 lseek fd int int
17 pread64 fd buf int
21 access path int
32 dup fd
33 dup2 fd fd
41 socket int int int
42 connect fd address
49 bind fd address
50 listen fd int
59 execve path int int
72 fcntl fd int int
73 flock fd int
74 fsync fd
76 truncate path int
77 ftruncate fd int
78 getdents fd raw
79 getcwd buf
80 chdir path
81 fchdir fd
82 rename path path
83 mkdir path int
84 rmdir path
85 creat path int
86 link path path
87 unlink path
88 symlink path path
89 readlink path buf
90 chmod path int
91 fchmod fd int
92 chown path int int
93 fchown fd int int
94 lchown path int int
95 umask int
132 utime path times
133 mknod path int int
137 statfs path statfs
138 fstatfs fd statfs
161 chroot path
187 readahead fd int int
188 setxattr path path text int
189 lsetxattr path path text int
190 fsetxattr fd path text int
191 getxattr path path buf
192 lgetxattr path path buf
193 fgetxattr fd path buf
194 listxattr path names
195 llistxattr path names
196 flistxattr fd names
197 removexattr path path
198 lremovexattr path path
199 fremovexattr fd path
217 getdents64 fd raw
221 fadvise64 fd int int int
235 utimes path times
254 inotify_add_watch fd path int
257 openat fd path int int
258 mkdirat fd path int
259 mknodat fd path int int
260 fchownat fd path int int int
261 futimesat fd path times
262 newfstatat fd path stat int
263 unlinkat fd path int
264 renameat fd path fd path
265 linkat fd path fd path int
266 symlinkat path fd path
267 readlinkat fd path buf
268 fchmodat fd path int
269 faccessat fd path int
280 utimensat fd path times int
285 fallocate fd int int int
294 inotify_init1 int
303 name_to_handle_at fd path handle handle int
316 renameat2 fd path fd path int
322 execveat fd path int int int
332 statx fd path int int statx
425 io_uring_setup int int
436 close_range int int int
437 openat2 fd path how
439 faccessat2 fd path int int
452 fchmodat2 fd path int int
"""
"""Number, name, and the kinds of arguments: see `program`."""

SIGNATURES = {
    name: (int(number), kinds)
    for number, name, *kinds in (line.split() for line in CALLS.strip().splitlines())
}

CONSTANTS = {
    **{name: value for name, value in vars(os).items() if name.startswith("O_")},
    **{name: value for name, value in vars(fcntl).items() if name[:2] in ("F_", "FD", "LO")},
    "F_OK": os.F_OK,
    "R_OK": os.R_OK,
    "W_OK": os.W_OK,
    "X_OK": os.X_OK,
    "SEEK_SET": os.SEEK_SET,
    "SEEK_CUR": os.SEEK_CUR,
    "SEEK_END": os.SEEK_END,
    "SEEK_DATA": os.SEEK_DATA,
    "SEEK_HOLE": os.SEEK_HOLE,
    "AF_UNIX": int(socket.AF_UNIX),
    "SOCK_STREAM": int(socket.SOCK_STREAM),
    "SOCK_DGRAM": int(socket.SOCK_DGRAM),
    "O_LARGEFILE": 0o100000,
    "O_TMPFILE": 0o20200000,
    "TMPFILE_BIT": 0o20000000,
    "FD_CLOEXEC": 1,
    "AT_FDCWD": -100,
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_REMOVEDIR": 0x200,
    "AT_EACCESS": 0x200,
    "AT_SYMLINK_FOLLOW": 0x400,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "AT_STATX_FORCE_SYNC": 0x2000,
    "AT_STATX_DONT_SYNC": 0x4000,
    "STATX_TYPE": 1,
    "STATX_MTIME": 0x40,
    "STATX_CTIME": 0x80,
    "STATX_SIZE": 0x200,
    "STATX_BASIC_STATS": 0x7FF,
    "STATX_ALL": 0xFFF,
    "STATX_RESERVED": 0x80000000,
    "RESOLVE_NO_XDEV": 1,
    "RESOLVE_NO_MAGICLINKS": 2,
    "RESOLVE_NO_SYMLINKS": 4,
    "RESOLVE_BENEATH": 8,
    "RESOLVE_IN_ROOT": 16,
    "RESOLVE_CACHED": 32,
    "RENAME_NOREPLACE": 1,
    "RENAME_EXCHANGE": 2,
    "XATTR_CREATE": 1,
    "XATTR_REPLACE": 2,
    "IN_ALL_EVENTS": 0xFFF,
    "IN_ONLYDIR": 0x01000000,
    "IN_DONT_FOLLOW": 0x02000000,
    "S_IFREG": 0o100000,
    "S_IFIFO": 0o010000,
    "S_IFSOCK": 0o140000,
    "S_IFDIR": 0o040000,
    "S_IFCHR": 0o020000,
    "PROT_READ": 1,
    "PROT_WRITE": 2,
    "PROT_EXEC": 4,
    "MAP_SHARED": 1,
    "MAP_PRIVATE": 2,
    "SYS_getdents": 78,
    "SYS_getdents64": 217,
    "NULL": 0,
}
