"""The one table of ops: every public name has a case here, or is named as not differentiable."""

from op_cases_basic import ELEMENTWISE, REDUCTIONS, SHAPES
from op_cases_nn import CONVOLUTIONS, LOSSES, NORMS, POOLS, PRODUCTS

CASES = [
    *ELEMENTWISE,
    *REDUCTIONS,
    *SHAPES,
    *PRODUCTS,
    *CONVOLUTIONS,
    *POOLS,
    *NORMS,
    *LOSSES,
]

NOT_DIFFERENTIABLE = {
    # made, not computed
    "tensor", "from_numpy", "zeros", "ones", "full", "zeros_like", "ones_like", "arange", "eye",
    "rand", "randn", "randint", "randperm",
    # results without a gradient
    "argmax", "argmin", "all", "any", "isnan", "isfinite",
    # what a tensor is
    "data", "grad", "shape", "dtype", "ndim", "size", "dim", "numel", "is_leaf", "grad_fn",
    "requires_grad", "numpy", "item", "tolist",
    # the graph
    "requires_grad_", "detach", "backward",
    # in place
    "write", "copy_", "fill_", "zero_", "add_", "sub_", "mul_", "div_",
    # dtypes, in test_cast.py
    "to", "float", "double", "long", "bool",
    # `t`, as a property
    "T",
}  # fmt: skip
"""Public names without a case: no derivative, or tested in a file of their own."""
