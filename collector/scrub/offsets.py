"""Where a msgspec.Raw lies in the bytes that it was decoded from: msgspec knows, but does not tell.

A Raw is a view of the decoded bytes, so the addresses of both buffers say it. Reading them takes 1 us; searching for
the bytes takes more, and the same bytes may stand elsewhere, where they mean something else.
"""

import ctypes
from typing import Any

_ADDRESS_ONLY = 0  # PyBUF_SIMPLE


class _View(ctypes.Structure):
    """Py_buffer, of which only the address is read. Layout: Python's stable ABI."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_void_p * 10),
    )


_get = ctypes.pythonapi.PyObject_GetBuffer
_get.argtypes = (ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_release = ctypes.pythonapi.PyBuffer_Release
_release.argtypes = (ctypes.c_void_p,)
_release.restype = None


def address_of(owner: Any) -> int:
    """Where the bytes of an object lie in memory, as long as it lives."""
    view = _View()
    at = ctypes.addressof(view)
    _get(owner, at, _ADDRESS_ONLY)
    address: int = view.buf or 0
    _release(at)
    return address


def offset_in(payload: bytes, part: Any, base: int) -> int:
    """Where `part`, a Raw decoded from `payload` (which lies at `base`), begins in it.

    Raises RuntimeError when it is no view of it.
    """
    at = address_of(part) - base
    if not 0 <= at <= len(payload) or not payload.startswith(bytes(part), at):
        raise RuntimeError("msgspec.Raw is no view of the bytes that it was decoded from")
    return at
