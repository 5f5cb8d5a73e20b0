"""Cases that are not yet as they should be, and why. What is here is a defect, if a small one."""

from __future__ import annotations

import os

_BOUNDED = "RESOLVE_BENEATH and RESOLVE_IN_ROOT look at where a path ends, not at each of its steps"

KNOWN_DIFFERENCES = {
    "open %A/missingdir/ O_WRONLY|O_CREAT 0644": "the slash is looked at behind the link",
    "d=open %A O_PATH; openat2 $d absolute O_RDONLY,0,RESOLVE_BENEATH": _BOUNDED,
    "d=open %A/dir O_PATH; openat2 $d ../file O_RDONLY,0,RESOLVE_IN_ROOT": _BOUNDED,
    "d=open %A O_PATH; openat2 $d etc O_RDONLY,0,RESOLVE_IN_ROOT": _BOUNDED,
}

_FAULT = "in the program's own process a bad pointer is followed, as in the vDSO: no EFAULT"

_UNREADABLE = "what its owner may run and not read, a supervisor without rights can't look into"

if os.geteuid() != 0:
    KNOWN_DIFFERENCES.update(
        {
            f"chmod %R/{name} 0100; !run @fork . {path} 0 x a; chmod %R/{name} 0755": _UNREADABLE
            for name, path in (
                ("script", "%R/script"),
                ("script", "%A/out/script"),
                ("script", "%A/bin/script-real-script"),
                ("script", "%R/script-script"),
                ("script-script", "%R/script-script"),
                ("script-dir", "%R/script-dir"),
                ("own-loader", "%R/own-loader"),
            )
        }
    )

WITH_SHIM = {
    "stat %A/file &RO": _FAULT,
    "stat OPEN:%A/file": _FAULT,
    "stat OPEN:%R/file": _FAULT,
    "readlink %A/link 100&RO": _FAULT,
}
"""The same, where the shim answers."""
