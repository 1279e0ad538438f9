"""Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762), with PyTorch's names and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn import init
from tinygrad_ft.nn.linear import Linear
from tinygrad_ft.nn.module import Module
from tinygrad_ft.nn.parameter import Parameter
from tinygrad_ft.ops import (
    broadcast_to,
    cat,
    chunk,
    matmul,
    mean,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
    where,
)
from tinygrad_ft.ops.attention import attention_weights
from tinygrad_ft.tensor import Tensor


class MultiheadAttention(Module):
    """Queries look at keys and take the values there, in `num_heads` subspaces of `embed_dim`.

    Shapes, with L queries, S keys, a batch of N and E = embed_dim: query (L, N, E), key (S, N,
    kdim), value (S, N, vdim), or (N, L, E) ... with `batch_first`, or (L, E) ... without a batch.
    `kdim` and `vdim` are E unless given. `add_bias_kv` appends a learned key and value,
    `add_zero_attn` one of zeros. `dropout` acts on the attention weights, in training.

    Starts as PyTorch's: Xavier-uniform projections, biases 0.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention needs an embed_dim that num_heads divides, got {embed_dim} "
                f"and {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(
                f"MultiheadAttention needs a probability between 0 and 1, got dropout={dropout}"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first

        def absent_or(wanted: bool, *shape: int) -> Parameter | None:
            return Parameter(np.empty(shape, np.float32)) if wanted else None

        packed = self.kdim == self.vdim == embed_dim
        e = embed_dim
        self.register_parameter("in_proj_weight", absent_or(packed, 3 * e, e))
        self.register_parameter("q_proj_weight", absent_or(not packed, e, e))
        self.register_parameter("k_proj_weight", absent_or(not packed, e, self.kdim))
        self.register_parameter("v_proj_weight", absent_or(not packed, e, self.vdim))
        self.register_parameter("in_proj_bias", absent_or(bias, 3 * e))
        self.out_proj = Linear(e, e, bias=bias)
        self.register_parameter("bias_k", absent_or(add_bias_kv, 1, 1, e))
        self.register_parameter("bias_v", absent_or(add_bias_kv, 1, 1, e))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections of the inputs anew, and set the biases to 0."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if (weight := getattr(self, name)) is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, shaped like the query, and the attention weights (None unless
        `need_weights`): (N, L, S), or (N, heads, L, S) without `average_attn_weights`.

        `key_padding_mask` (N, S) and `attn_mask` (L, S) or (N heads, L, S) are boolean with True
        where a key must not be looked at, or floating and added to the scores. `is_causal` says
        that `attn_mask` is causal; the mask itself is what counts, and must be given. A query that
        may look nowhere gets 0 (and the bias of `out_proj`), with and without `need_weights`.

        Raises ValueError if shapes do not fit, TypeError for a mask of another dtype.
        """
        batched = query.ndim == 3
        self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise ValueError("MultiheadAttention: is_causal needs the causal attn_mask as well")
        q, k, v = self._projected(query, key, value)
        if not batched:
            q, k, v = (unsqueeze(x, 0) for x in (q, k, v))
        elif not self.batch_first:
            q, k, v = (transpose(x, 0, 1) for x in (q, k, v))
        batch, length, _ = q.shape
        sizes = (batch, length, k.shape[1])
        mask = self._mask(key_padding_mask, attn_mask, sizes, batched, q.dtype)
        if self.bias_k is not None and self.bias_v is not None:
            k = cat([k, broadcast_to(self.bias_k, (batch, 1, self.embed_dim))], 1)
            v = cat([v, broadcast_to(self.bias_v, (batch, 1, self.embed_dim))], 1)
        if self.add_zero_attn:
            zeros = Tensor(np.zeros((batch, 1, self.embed_dim), k.dtype))
            k, v = cat([k, zeros], 1), cat([v, zeros], 1)
        if mask is not None:
            mask = _open_to(mask, k.shape[1])

        # (N, L, E) -> (N, heads, L, E / heads)
        q, k, v = (
            transpose(reshape(x, (batch, x.shape[1], self.num_heads, self.head_dim)), 1, 2)
            for x in (q, k, v)
        )
        weights = attention_weights("MultiheadAttention", q, k, mask)
        weights = F.dropout(weights, self.dropout, self.training)
        joined = reshape(transpose(matmul(weights, v), 1, 2), (batch, length, self.embed_dim))
        out = self.out_proj(joined)
        if not batched:
            out = squeeze(out, 0)
        elif not self.batch_first:
            out = transpose(out, 0, 1)
        if not need_weights:
            return out, None
        if average_attn_weights:
            weights = mean(weights, 1)
        return out, weights if batched else squeeze(weights, 0)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        shapes = f"query {query.shape}, key {key.shape} and value {value.shape}"
        if not query.ndim == key.ndim == value.ndim or query.ndim not in (2, 3):
            raise ValueError(
                f"MultiheadAttention got {shapes}: all three need 3 dimensions, or 2 without batch"
            )
        widths = (query.shape[-1], key.shape[-1], value.shape[-1])
        batch = 0 if self.batch_first else 1
        if (
            widths != (self.embed_dim, self.kdim, self.vdim)
            or key.shape[:-1] != value.shape[:-1]
            or (query.ndim == 3 and query.shape[batch] != key.shape[batch])
        ):
            length = "(N, length, width)" if self.batch_first else "(length, N, width)"
            raise ValueError(
                f"MultiheadAttention got {shapes}: expected {length if query.ndim == 3 else ''} "
                f"widths {self.embed_dim}, {self.kdim} and {self.vdim}, one batch size, and key "
                "and value equally long"
            )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, each multiplied by its weights: (..., E)."""
        inputs = (query, key, value)
        biases: Sequence[Tensor | None] = (None,) * 3
        if self.in_proj_bias is not None:
            biases = chunk(self.in_proj_bias, 3)
        if self.in_proj_weight is not None and query is key and key is value:
            # one product for all three
            return chunk(F.linear(query, self.in_proj_weight, self.in_proj_bias), 3, -1)
        return tuple(
            F.linear(x, w, b) for x, w, b in zip(inputs, self._weights(), biases, strict=True)
        )

    def _weights(self) -> tuple[Tensor, ...]:
        """The projections of query, key and value: (E, E), (E, kdim), (E, vdim)."""
        if self.in_proj_weight is not None:
            return chunk(self.in_proj_weight, 3)
        assert self.q_proj_weight is not None
        assert self.k_proj_weight is not None
        assert self.v_proj_weight is not None
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _mask(
        self,
        padding: Tensor | None,
        attn: Tensor | None,
        sizes: tuple[int, int, int],
        batched: bool,
        dtype: np.dtype,
    ) -> Tensor | None:
        """Both masks as one that broadcasts to (N, heads, L, S): boolean with True where a query
        may look, or numbers to add."""
        batch, length, keys = sizes
        masks = []
        if padding is not None:
            expected = (batch, keys) if batched else (keys,)
            if padding.shape != expected:
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask has shape {padding.shape}, expected "
                    f"{expected}"
                )
            masks.append(reshape(padding, (batch, 1, 1, keys)))
        if attn is not None:
            each = (batch * self.num_heads, length, keys)
            if attn.shape not in ((length, keys), each):
                raise ValueError(
                    f"MultiheadAttention: attn_mask has shape {attn.shape}, expected "
                    f"{(length, keys)} or {each}"
                )
            heads = (1, 1) if attn.ndim == 2 else (batch, self.num_heads)
            masks.append(reshape(attn, (*heads, length, keys)))
        for mask in masks:
            if mask.dtype.kind not in "bf":
                raise TypeError(
                    f"MultiheadAttention: a mask is boolean or floating, not {mask.dtype}"
                )
        if not masks:
            return None
        if all(m.dtype == np.bool_ for m in masks):
            forbidden = masks[0].data if len(masks) == 1 else masks[0].data | masks[1].data
            return Tensor(~forbidden)
        added = [m if m.dtype.kind == "f" else where(m, -math.inf, 0.0).to(dtype) for m in masks]
        return added[0] if len(added) == 1 else added[0] + added[1]


def _open_to(mask: Tensor, keys: int) -> Tensor:
    """The mask with the keys that were appended: every query may look at them."""
    extra = keys - mask.shape[-1]
    if not extra:
        return mask
    fill = np.full((*mask.shape[:-1], extra), mask.dtype == np.bool_, mask.dtype)
    return cat([mask, Tensor(fill)], -1)
