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
    "le_wavelet_fits": [_L, _L, _L],
    "le_pack": [_P, _P, _L, _L, _I],
    "le_wavelet_block": [_P, _P, _P, _L],
    "le_wavelet_sums": [_P],
    "le_wavelet_block_grad": [_P, _P, _L],
}

WAVELET_POINTERS = (
    *("x", "up", "styles1", "styles2", "taps1", "taps2", "weight1", "weight2", "bias1", "bias2"),
    *("noise1", "noise2", "head", "head_bias"),
)
WAVELET_GRADIENTS = (
    *("dy", "y", "image", "back1", "back2", "x", "up", "styles1", "styles2", "noise1", "noise2", "head"),
    *("z1", "d1", "z2", "d2"),
)
WAVELET_SIZES = (*("noise1_stride", "noise2_stride", "n", "inputs", "outputs", "height", "width", "image_channels"),)


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


class WaveletBlockStruct(ctypes.Structure):
    """`WaveletBlock` of the C side; see wavelet.h."""

    _fields_ = (
        *((name, _P) for name in WAVELET_POINTERS),
        *((name, _L) for name in WAVELET_SIZES),
    )


class WaveletGradStruct(ctypes.Structure):
    """`WaveletGrad` of the C side; see wavelet_grad.cpp."""

    _fields_ = tuple((name, _P) for name in WAVELET_GRADIENTS)


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the functions of a freshly loaded library their argument types."""
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes = arguments
            function.restype = ctypes.c_char_p if name == "le_error" else ctypes.c_int
    return library
