"""The C interface of the native libraries, which the CPU and the CUDA library share (the last argument differs).

The CPU's takes a number of threads where CUDA's takes a stream.
"""

from __future__ import annotations

import ctypes
from typing import Any

_I, _L, _D, _P = ctypes.c_int, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
_SIGNATURES: dict[str, list[Any]] = {
    "le_bias_act": [_I, _I, *[_P] * 6, _L, _L, _L, _I, _D, _D, _D, _L],
    "le_upfirdn2d": [_I, *[_P] * 4, *[_L] * 6, *[_I] * 11, ctypes.c_float, _P, _L],
    "le_epilogue": [_I, _P, _P, *[_L] * 4, _I, _P, _L],
    "le_epilogue_grad": [_I, *[_P] * 5, *[_L] * 4, _I, _P, _L],
    "le_modulation_grad": [_I, *[_P] * 5, *[_L] * 4, _I, _L],
    "le_filtered_lrelu": [_I, *[_P] * 5, *[_L] * 6, *[_I] * 5, *[_L] * 4, *[_D] * 3, _I, _L],
    "le_group": [_I, _L],
    "le_error": [_I],
    "le_winograd_prepare": [_P, _P, _L, _L, _I, _L],
    "le_winograd": [_P, _P, _P, _P, *[_L] * 5, _P, _L],
    "le_winograd_fits": [_L, _L],
}


class EpilogueStruct(ctypes.Structure):
    """`Epilogue` of the C side; any pointer may be null."""

    _fields_ = (
        ("scale", _P),
        ("noise", _P),
        ("bias", _P),
        ("post", _P),
        ("product", _P),
        ("noise_stride", _L),
        ("act", ctypes.c_int32),
        ("alpha", ctypes.c_float),
        ("gain", ctypes.c_float),
        ("clamp", ctypes.c_float),
    )


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the functions of a freshly loaded library their argument types."""
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes = arguments
            function.restype = ctypes.c_char_p if name == "le_error" else ctypes.c_int
    return library
