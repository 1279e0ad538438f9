"""The methods of Tensor about dtypes, and those that make new tensors of the same dtype."""

# `self` is a Tensor, which mypy cannot know of a class that Tensor is derived from
# mypy: disable-error-code="arg-type, return-value"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # at run time `tensor.py` puts it here: the ops need Tensor to exist first
    from tinygrad_ft import ops
    from tinygrad_ft.tensor import Scalar, Tensor

# the methods `bool`, `int`, ... shadow the built-in types in the annotations of the class body
Bool = bool
Int = int


class DtypeMethods:
    """Base of Tensor alone."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def dtype(self) -> np.dtype: ...

    def to(self, dtype: Any) -> Tensor:
        """The values as another NumPy dtype, or as that of another tensor."""
        return ops.to(self, dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """The values as the dtype of another tensor."""
        return ops.to(self, other.dtype)

    def float(self) -> Tensor:
        return ops.to(self, np.float32)

    def double(self) -> Tensor:
        return ops.to(self, np.float64)

    def int(self) -> Tensor:
        return ops.to(self, np.int32)

    def long(self) -> Tensor:
        return ops.to(self, np.int64)

    def bool(self) -> Tensor:
        return ops.to(self, np.bool_)

    def is_floating_point(self) -> Bool:
        return self.dtype.kind == "f"

    def element_size(self) -> Int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def new_tensor(self, data: Any, dtype: Any = None, requires_grad: Bool = False) -> Tensor:
        """`tensor(data)` of this dtype."""
        from tinygrad_ft import creation

        return creation.tensor(data, dtype or self.dtype, requires_grad)

    def new_zeros(self, *size: Any, dtype: Any = None, requires_grad: Bool = False) -> Tensor:
        """`zeros(size)` of this dtype."""
        from tinygrad_ft import creation

        return creation.zeros(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, requires_grad: Bool = False) -> Tensor:
        """`ones(size)` of this dtype."""
        from tinygrad_ft import creation

        return creation.ones(*size, dtype=dtype or self.dtype, requires_grad=requires_grad)

    def new_full(
        self, size: Any, fill_value: Scalar, dtype: Any = None, requires_grad: Bool = False
    ) -> Tensor:
        """`full(size, fill_value)` of this dtype."""
        from tinygrad_ft import creation

        return creation.full(size, fill_value, dtype or self.dtype, requires_grad)
