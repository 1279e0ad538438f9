"""The functions of `kernels` in the plainest NumPy: the truth that tests hold the kernels to."""

from kernels.reference.axis_map import axis_map
from kernels.reference.conv import conv2d_forward, conv2d_grad_input, conv2d_grad_weight
from kernels.reference.elementwise import (
    accumulate,
    adam_update,
    add,
    mask_scale,
    relu_forward,
    sgd_update,
)
from kernels.reference.group_norm import group_norm_backward, group_norm_forward
from kernels.reference.matmul import matmul
from kernels.reference.norm import batch_norm_backward, batch_norm_forward, channel_affine
from kernels.reference.pool import (
    adaptive_max_pool2d_forward,
    avg_pool2d_forward,
    avg_pool2d_grad_input,
    gather_planes,
    max_pool2d_forward,
    scatter_add_planes,
)
from kernels.reference.rows import scatter_add_rows

__all__ = [
    "accumulate",
    "adam_update",
    "adaptive_max_pool2d_forward",
    "add",
    "avg_pool2d_forward",
    "avg_pool2d_grad_input",
    "axis_map",
    "batch_norm_backward",
    "batch_norm_forward",
    "channel_affine",
    "conv2d_forward",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "gather_planes",
    "group_norm_backward",
    "group_norm_forward",
    "mask_scale",
    "matmul",
    "max_pool2d_forward",
    "relu_forward",
    "scatter_add_planes",
    "scatter_add_rows",
    "sgd_update",
]
