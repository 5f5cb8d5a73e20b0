"""Access to CernVM-FS software repositories without root, FUSE or kernel modules."""

__version__ = "0.1.0"
