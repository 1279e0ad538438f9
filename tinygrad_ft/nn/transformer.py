"""The encoder of a transformer (Vaswani et al. 2017, arXiv 1706.03762), with PyTorch's names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tinygrad_ft.nn import functional as F
from tinygrad_ft.nn.attention import MultiheadAttention
from tinygrad_ft.nn.container import ModuleList
from tinygrad_ft.nn.dropout import Dropout
from tinygrad_ft.nn.group_norm import LayerNorm
from tinygrad_ft.nn.linear import Linear
from tinygrad_ft.nn.module import Module
from tinygrad_ft.tensor import Tensor

Activation = Callable[[Tensor], Tensor]


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two linear layers, each with a residual connection:

    x = norm1(x + attention(x)),  x = norm2(x + linear2(activation(linear1(x))))

    and with `norm_first` x = x + attention(norm1(x)),  x = x + linear2(activation(linear1(norm2
    (x)))), which trains deep stacks without a warm-up (Xiong et al. 2020, arXiv 2002.04745).
    Sequences are (L, N, d_model), (N, L, d_model) with `batch_first`, or (L, d_model).
    `activation` is "relu", "gelu" or a function. `dropout` acts on the attention weights, behind
    the activation, and on both branches.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The sequence with every place told of the others; masks as in `MultiheadAttention`."""
        masks = {
            "attn_mask": src_mask,
            "key_padding_mask": src_key_padding_mask,
            "is_causal": is_causal,
        }
        x = src
        if self.norm_first:
            x = x + self._attend(self.norm1(x), masks)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attend(x, masks))
        return self.norm2(x + self._feed_forward(x))

    def _attend(self, x: Tensor, masks: dict[str, Any]) -> Tensor:
        out, _ = self.self_attn(x, x, x, need_weights=False, **masks)
        return self.dropout1(out)

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.dropout2(self.linear2(hidden))


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after the other, and `norm` at the end if there is one.

    The copies start with the same weights, as PyTorch's do.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"TransformerEncoder needs 1 or more layers, got {num_layers}")
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.register_module("norm", norm)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The sequence behind the last layer; masks as in `MultiheadAttention`."""
        x = src
        for layer in self.layers:
            x = layer(
                x,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=is_causal,
            )
        return x if self.norm is None else self.norm(x)


def _activation(activation: str | Activation) -> Activation:
    if callable(activation):
        return activation
    if activation not in ("relu", "gelu"):
        raise ValueError(
            f"TransformerEncoderLayer takes activation='relu', 'gelu' or a function, got "
            f"{activation!r}"
        )
    return F.relu if activation == "relu" else F.gelu
