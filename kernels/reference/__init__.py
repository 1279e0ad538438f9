"""The functions of `kernels` in the plainest NumPy: the truth that tests hold the kernels to."""

from kernels.reference.conv import conv2d_forward, conv2d_grad_input, conv2d_grad_weight
from kernels.reference.elementwise import (
    accumulate,
    adam_update,
    add,
    mask_scale,
    relu_forward,
    sgd_update,
)
from kernels.reference.matmul import matmul
from kernels.reference.norm import batch_norm_backward, batch_norm_forward, channel_affine
from kernels.reference.pool import (
    avg_pool2d_forward,
    avg_pool2d_grad_input,
    gather_planes,
    max_pool2d_forward,
    scatter_add_planes,
)

__all__ = [
    "accumulate",
    "adam_update",
    "add",
    "avg_pool2d_forward",
    "avg_pool2d_grad_input",
    "batch_norm_backward",
    "batch_norm_forward",
    "channel_affine",
    "conv2d_forward",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "gather_planes",
    "mask_scale",
    "matmul",
    "max_pool2d_forward",
    "relu_forward",
    "scatter_add_planes",
    "sgd_update",
]
