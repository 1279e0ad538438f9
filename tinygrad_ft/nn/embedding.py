"""Embedding: a table whose rows are looked up by number."""

from __future__ import annotations

from typing import Self

import numpy as np

from tinygrad_ft.grad_mode import no_grad
from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.ops.embedding import padding_row
from tinygrad_ft.tensor import Tensor, TensorLike


class Embedding(Module):
    """Integers (...) below `num_embeddings` as vectors (..., embedding_dim).

    The row `padding_idx` starts as 0 and gets no gradient. With `max_norm`, rows that are looked up
    are shortened in place to that `norm_type`-norm. Starts as PyTorch's: N(0, 1).
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> None:
        super().__init__()
        if num_embeddings < 0 or embedding_dim < 0:
            raise ValueError(
                f"Embedding needs sizes that are not negative, got {num_embeddings} and "
                f"{embedding_dim}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            padding_idx = padding_row("Embedding", padding_idx, num_embeddings)
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rows anew; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> Self:
        """An Embedding of these rows (num_embeddings, embedding_dim), whose memory it shares; they
        are not trained unless `freeze` is False."""
        rows = Tensor(embeddings)
        if rows.ndim != 2 or rows.dtype.kind != "f":
            raise ValueError(
                "Embedding.from_pretrained needs floats of shape (rows, width), got "
                f"{rows.dtype} of shape {rows.shape}"
            )
        layer = cls(rows.shape[0], rows.shape[1], padding_idx, max_norm, norm_type)
        layer.weight = Parameter(rows, requires_grad=not freeze)
        return layer

    def forward(self, input: TensorLike) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type)

    def extra_repr(self) -> str:
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}, norm_type={self.norm_type}")
        return ", ".join(parts)
