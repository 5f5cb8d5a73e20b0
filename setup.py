"""Build the C core through cffi; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["csrc/ffi_build.py:ffibuilder"])
