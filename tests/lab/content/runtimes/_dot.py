"""Executes SDOT (Armv8.2 dot product): a cortex-a76 does, a cortex-a72 does not know it."""

import ctypes
import mmap

CODE = b"\x20\x94\x82\x4e" + b"\xc0\x03\x5f\xd6"  # sdot v0.4s, v1.16b, v2.16b; ret


def dot():
    """Do it once; where the CPU cannot, the process ends with SIGILL."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(CODE)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
