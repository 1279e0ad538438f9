"""The one table of ops: every public name has a case here, or is named as not differentiable."""

from op_cases_activation import ACTIVATIONS
from op_cases_attention import ATTENTION, DROPOUTS, EMBEDDINGS, SIMILARITIES
from op_cases_basic import REDUCTIONS, SHAPES
from op_cases_conv import CONVOLUTIONS
from op_cases_elementwise import ELEMENTWISE
from op_cases_index import INDEX_CASES
from op_cases_loss import LOSSES
from op_cases_matrix import PRODUCTS_OF_TENSORS
from op_cases_nn import PRODUCTS
from op_cases_norm import NORMS
from op_cases_pool import POOLS
from op_cases_reduce import REDUCTIONS_AND_SCANS
from op_cases_resample import RESAMPLING
from op_cases_shape import SHAPE_CASES

CASES = [
    *ELEMENTWISE,
    *ACTIVATIONS,
    *REDUCTIONS,
    *SHAPES,
    *SHAPE_CASES,
    *INDEX_CASES,
    *PRODUCTS,
    *PRODUCTS_OF_TENSORS,
    *REDUCTIONS_AND_SCANS,
    *CONVOLUTIONS,
    *POOLS,
    *NORMS,
    *RESAMPLING,
    *LOSSES,
    *ATTENTION,
    *DROPOUTS,
    *EMBEDDINGS,
    *SIMILARITIES,
]

NOT_DIFFERENTIABLE = {
    # made, not computed
    "tensor", "as_tensor", "from_numpy", "zeros", "ones", "empty", "full", "zeros_like",
    "ones_like", "empty_like", "full_like", "arange", "linspace", "eye", "tril_indices",
    "triu_indices", "rand", "randn", "rand_like", "randn_like", "randint", "randperm",
    "new_tensor", "new_zeros", "new_ones", "new_full",
    # results without a gradient
    "argmax", "argmin", "argsort", "all", "any", "count_nonzero", "isnan", "isfinite", "nonzero",
    # comparisons and logic, in test_op_compare.py
    "eq", "ne", "lt", "le", "gt", "ge", "isclose", "allclose", "equal", "isinf", "logical_and",
    "logical_or", "logical_xor", "logical_not",
    # integers from integers, in test_op_embedding.py
    "one_hot",
    # what a tensor is
    "data", "grad", "shape", "dtype", "ndim", "size", "dim", "ndimension", "numel", "nelement",
    "element_size", "is_contiguous", "is_floating_point", "is_leaf", "grad_fn", "requires_grad",
    "numpy", "item", "tolist",
    # the graph
    "requires_grad_", "detach", "backward", "register_hook", "retain_grad", "retains_grad",
    # in place
    "write", "clamp_", "copy_", "fill_", "zero_", "add_", "sub_", "mul_", "div_",
    # dtypes, in test_cast.py
    "to", "type_as", "float", "double", "int", "long", "bool",
    # `t` and `transpose`, as properties
    "T", "mT",
}  # fmt: skip
"""Public names without a case: no derivative, or tested in a file of their own."""

NEVER_EMPTY: dict[str, str] = {}
"""Ops without a case that has a dimension of size 0, and why."""
