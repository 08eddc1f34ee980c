"""The native floor: fused image operations with pure-PyTorch references beside their CPU and CUDA kernels.

Importing this package compiles and loads nothing; the kernels are built at the first call that wants them.
"""

from __future__ import annotations

from latentedit.cuda_ops.activation import bias_act
from latentedit.cuda_ops.filtered_lrelu import filtered_lrelu
from latentedit.cuda_ops.filters import setup_filter
from latentedit.cuda_ops.fused import styled_conv
from latentedit.cuda_ops.native import BackendReport, backend_report, reference_only
from latentedit.cuda_ops.resample import downsample2d, filter2d, upfirdn2d, upsample2d
from latentedit.cuda_ops.wavelet import wavelet_block, wavelet_image
from latentedit.cuda_ops.wavelet_reference import haar_cells, pointwise_lrelu, styled_depthwise
from latentedit.cuda_ops.weights import forget_prepared

__all__ = [
    "BackendReport",
    "backend_report",
    "bias_act",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "forget_prepared",
    "haar_cells",
    "pointwise_lrelu",
    "reference_only",
    "setup_filter",
    "styled_conv",
    "styled_depthwise",
    "upfirdn2d",
    "upsample2d",
    "wavelet_block",
    "wavelet_image",
]
