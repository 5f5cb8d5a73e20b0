"""``python -m pyparrot``: the same as the command ``pyparrot``."""

import sys

from pyparrot.cli import main

if __name__ == "__main__":
    sys.exit(main())
