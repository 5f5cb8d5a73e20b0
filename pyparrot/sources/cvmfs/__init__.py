"""The CernVM-FS repository format, version 2.x, as its official server tools write it.

One module a part of the format; nothing here knows where the bytes come from or go to.
"""
