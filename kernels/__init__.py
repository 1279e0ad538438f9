"""Fast kernels on plain NumPy arrays: matrix product, convolution, pooling, normalisation.

    from kernels import matmul, conv2d_forward, conv2d_grad_input, conv2d_grad_weight

Knows nothing of tensors or gradients. README.md explains how the kernels work; `kernels.reference`
has the same functions in the plainest NumPy. Nothing is compiled before it is first called.
"""

from kernels.axis_map import axis_map
from kernels.buffers import empty, empty_like, empty_nhwc, trim, zeros
from kernels.cache import cache_info, registered
from kernels.compilation import warmup
from kernels.conv import (
    conv2d_forward,
    conv2d_grad_input,
    conv2d_grad_weight,
    conv2d_shape,
    set_winograd,
    winograd_enabled,
)
from kernels.elementwise import (
    accumulate,
    adam_update,
    add,
    mask_scale,
    relu_forward,
    sgd_update,
    sgd_update_all,
)
from kernels.finish import Finish
from kernels.group_norm import group_norm_backward, group_norm_forward
from kernels.joining import set_joining
from kernels.matmul import linear, matmul
from kernels.norm import (
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_statistics,
    channel_affine,
    fold_batch_norm,
)
from kernels.parallel import get_num_threads, set_num_threads
from kernels.placing import place
from kernels.pool import (
    adaptive_max_pool2d_forward,
    avg_pool2d_forward,
    avg_pool2d_grad_input,
    gather_planes,
    max_pool2d_forward,
    scatter_add_planes,
)
from kernels.prepared import Prepared
from kernels.recording import Program, recording
from kernels.rows import scatter_add_rows, sum_rows
from kernels.winograd_backward import conv2d_backward, conv2d_backward_pays

__all__ = [
    "Finish",
    "Prepared",
    "Program",
    "accumulate",
    "adam_update",
    "adaptive_max_pool2d_forward",
    "add",
    "avg_pool2d_forward",
    "avg_pool2d_grad_input",
    "axis_map",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_statistics",
    "cache_info",
    "channel_affine",
    "conv2d_backward",
    "conv2d_backward_pays",
    "conv2d_forward",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_shape",
    "empty",
    "empty_like",
    "empty_nhwc",
    "fold_batch_norm",
    "gather_planes",
    "get_num_threads",
    "group_norm_backward",
    "group_norm_forward",
    "linear",
    "mask_scale",
    "matmul",
    "max_pool2d_forward",
    "place",
    "recording",
    "registered",
    "relu_forward",
    "scatter_add_planes",
    "scatter_add_rows",
    "set_joining",
    "set_num_threads",
    "set_winograd",
    "sgd_update",
    "sgd_update_all",
    "sum_rows",
    "trim",
    "warmup",
    "winograd_enabled",
    "zeros",
]
