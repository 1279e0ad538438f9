"""Scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762)."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_ft.ops._operands import as_tensor, check_broadcast, float_operand
from tinygrad_ft.ops.dropout import dropout
from tinygrad_ft.ops.matmul import matmul
from tinygrad_ft.ops.selection import where
from tinygrad_ft.ops.shape import expand, reshape, transpose, unsqueeze
from tinygrad_ft.ops.softmax import softmax
from tinygrad_ft.tensor import Tensor, TensorLike


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Each query's mean of the values, weighted by how well their keys fit the query.

    out = w @ value, w = softmax(query @ key^T * scale + attn_mask)
    grad_value = w^T @ grad_out
    grad_query = scale * g @ key, grad_key = scale * g^T @ query,
    g[i, j] = w[i, j] * (grad_w[i, j] - sum_k w[i, k] * grad_w[i, k]), grad_w = grad_out @ value^T

    query (..., L, E), key (..., S, E), value (..., S, V) -> (..., L, V); leading dimensions (batch,
    heads) broadcast. `scale` is 1 / sqrt(E) unless given. `attn_mask` broadcasts to (..., L, S): a
    boolean one has True where a query may look, a floating one is added. `is_causal` lets query i
    look at keys 0 to i. A query that may look nowhere gets 0, and so does its gradient. `dropout_p`
    drops weights, always: pass 0 in evaluation. `enable_gqa` lets groups of query heads (dimension
    -3) share one key and value head.

    Raises ValueError if the shapes do not fit or both masks are given, TypeError for a mask of
    another dtype than boolean or the query's.
    """
    op = "scaled_dot_product_attention"
    q, k, v = (float_operand(op, x) for x in (query, key, value))
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"{op}: query {q.shape}, key {k.shape} and value {v.shape} do not fit: expected "
            "(..., L, E), (..., S, E) and (..., S, V)"
        )
    if enable_gqa:
        k, v = _repeat_heads(op, k, q.shape), _repeat_heads(op, v, q.shape)
    mask = None if attn_mask is None else as_tensor(attn_mask)
    if is_causal:
        if mask is not None:
            raise ValueError(f"{op}: give attn_mask or is_causal, not both")
        mask = Tensor._wrap(np.tri(q.shape[-2], k.shape[-2], dtype=np.bool_))
    weights = attention_weights(op, q, k, mask, scale)
    return matmul(dropout(weights, dropout_p), v)


def attention_weights(
    op: str, query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None = None
) -> Tensor:
    """softmax(query @ key^T * scale + mask) over the keys, 0 where a whole row is masked."""
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    check_broadcast(f"{op}: query and key", query.shape[:-2], key.shape[:-2])
    scores = matmul(query * factor, transpose(key, -1, -2))
    if mask is None:
        return softmax(scores, -1)
    if mask.dtype != np.bool_ and mask.dtype != scores.dtype:
        raise TypeError(f"{op}: the mask must be boolean or {scores.dtype}, not {mask.dtype}")
    if check_broadcast(f"{op}: mask and scores", mask.shape, scores.shape) != scores.shape:
        raise ValueError(f"{op}: a mask of shape {mask.shape} for scores of shape {scores.shape}")
    scores = where(mask, scores, -math.inf) if mask.dtype == np.bool_ else scores + mask
    # softmax of nothing but -inf is NaN; such a row is computed from zeros and then dropped
    empty = np.all(scores._data == -np.inf, axis=-1, keepdims=True)
    if not empty.any():
        return softmax(scores, -1)
    return where(empty, 0.0, softmax(where(empty, 0.0, scores), -1))


def _repeat_heads(op: str, x: Tensor, query: tuple[int, ...]) -> Tensor:
    """(..., G, S, E) with each head repeated so that there are as many as the query has."""
    if x.ndim < 3 or len(query) < 3 or x.shape[-3] == 0 or query[-3] % x.shape[-3]:
        raise ValueError(
            f"{op}: enable_gqa needs (..., heads, L, E) with a multiple of the key's and value's "
            f"heads in the query, got query {query} and {x.shape}"
        )
    *batch, heads, length, width = x.shape
    repeated = expand(unsqueeze(x, -3), (*batch, heads, query[-3] // heads, length, width))
    return reshape(repeated, (*batch, query[-3], length, width))
