"""MultiheadAttention: the formula, PyTorch's shapes, masks and state_dict, errors."""

import itertools

import numpy as np
import pytest
import torch_twin as twin

import tinygrad_ft as tg
from tinygrad_ft import nn

RNG = np.random.default_rng(0)
L, S, N, E, HEADS = 3, 4, 2, 6, 2


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def three(batch_first: bool = False, batched: bool = True, kdim: int = E, vdim: int = E):
    """Query, key and value."""
    lengths = {"query": (L, E), "key": (S, kdim), "value": (S, vdim)}
    shapes = [(n, N, w) if batched else (n, w) for n, w in lengths.values()]
    if batch_first and batched:
        shapes = [(s[1], s[0], s[2]) for s in shapes]
    return [draw(*s) for s in shapes]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_it_is_the_formula():
    layer = nn.MultiheadAttention(E, HEADS).double()
    query, key, value = three(batched=False)
    wq, wk, wv = np.split(layer.in_proj_weight.numpy(), 3)
    layer.in_proj_bias.data = draw(3 * E)
    bq, bk, bv = np.split(layer.in_proj_bias.numpy(), 3)
    q, k, v = query @ wq.T + bq, key @ wk.T + bk, value @ wv.T + bv
    forbidden = np.triu(np.ones((L, S), bool), 1)
    heads, expected_weights = [], []
    for h in range(HEADS):
        part = slice(h * E // HEADS, (h + 1) * E // HEADS)
        scores = q[:, part] @ k[:, part].T / np.sqrt(E // HEADS)
        expected_weights.append(softmax(np.where(forbidden, -np.inf, scores)))
        heads.append(expected_weights[-1] @ v[:, part])
    out = np.concatenate(heads, -1) @ layer.out_proj.weight.numpy().T
    found, weights = layer(*map(tg.Tensor, (query, key, value)), attn_mask=tg.Tensor(forbidden))
    np.testing.assert_allclose(found.numpy(), out, rtol=1e-12)
    np.testing.assert_allclose(weights.numpy(), np.mean(expected_weights, 0), rtol=1e-12)


# ---- as in PyTorch -------------------------------------------------------------------------------


def beside_torch(options, arrays, call):
    torch = pytest.importorskip("torch")
    ours = nn.MultiheadAttention(E, HEADS, **options).double()
    theirs = torch.nn.MultiheadAttention(E, HEADS, **options, dtype=torch.float64)
    rng = np.random.default_rng(1)
    for param in theirs.parameters():
        param.data = torch.from_numpy(rng.standard_normal(tuple(param.shape)) * 0.5)
    twin.agree(ours, theirs, arrays, call)


LAYERS = [
    {},
    {"bias": False},
    {"kdim": 3, "vdim": 5},
    {"kdim": 3, "bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "vdim": 4},
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_against_torch(layer):
    widths = {"kdim": layer.get("kdim", E), "vdim": layer.get("vdim", E)}
    every = list(itertools.product((False, True), repeat=4))
    for batch_first, batched, need, average in every if layer == {} else every[3::4]:
        arrays = three(batch_first, batched, **widths)

        def call(mha, q, k, v, need=need, average=average):
            return mha(q, k, v, need_weights=need, average_attn_weights=average)

        beside_torch({**layer, "batch_first": batch_first}, arrays, call)


@pytest.mark.parametrize("layer", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=str)
@pytest.mark.parametrize("kind", [np.bool_, np.float64])
@pytest.mark.parametrize("batched", [True, False])
def test_masks_against_torch(batched, kind, layer):
    def drawn(*shape):
        if kind is np.float64:
            return draw(*shape)
        mask = RNG.random(shape) < 0.4
        mask[..., 0] = False
        return mask

    count = N if batched else 1
    padding = drawn(N, S) if batched else drawn(S)
    for attn, key_padding, need in itertools.product(
        (None, drawn(L, S), drawn(count * HEADS, L, S)), (None, padding), (True, False)
    ):
        both = {"attn_mask": attn, "key_padding_mask": key_padding}
        names = [name for name, mask in both.items() if mask is not None]

        def call(mha, q, k, v, *given, names=names, need=need):
            return mha(q, k, v, need_weights=need, **dict(zip(names, given, strict=True)))

        beside_torch(layer, [*three(batched=batched), *(both[n] for n in names)], call)


def test_self_attention_against_torch():
    def call(mha, x):
        return mha(x, x, x)

    def memory(mha, x, y):
        return mha(x, y, y)

    beside_torch({"batch_first": True}, [draw(N, L, E)], call)
    beside_torch({}, [draw(L, N, E), draw(S, N, E)], memory)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_may_look_nowhere_gives_zero(need_weights):
    layer = nn.MultiheadAttention(E, HEADS, batch_first=True)
    x = tg.Tensor(draw(1, L, E).astype(np.float32), requires_grad=True)
    mask = np.zeros((L, L), bool)
    mask[1] = True
    out, weights = layer(x, x, x, attn_mask=tg.tensor(mask), need_weights=need_weights)
    np.testing.assert_array_equal(out[0, 1].numpy(), layer.out_proj.bias.numpy())
    if weights is not None:
        np.testing.assert_array_equal(weights[0, 1].numpy(), 0)
    out.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_it_starts_as_pytorch_does():
    tg.manual_seed(0)
    packed = nn.MultiheadAttention(30, 3)
    apart = nn.MultiheadAttention(30, 3, kdim=60, add_bias_kv=True)
    # Xavier-uniform of (fan out, fan in) as they are stored
    for weight in (packed.in_proj_weight, apart.q_proj_weight, apart.k_proj_weight):
        bound = np.sqrt(6 / sum(weight.shape))
        assert 0.9 * bound < np.abs(weight.numpy()).max() <= bound
    assert np.abs(packed.out_proj.weight.numpy()).max() <= 1 / np.sqrt(30)
    for bias in (packed.in_proj_bias, packed.out_proj.bias):
        np.testing.assert_array_equal(bias.numpy(), 0)
    # N(0, 2 / (30 + 30)): 30 draws
    assert 0.1 < apart.bias_k.numpy().std() < 0.26


def test_dropout_acts_on_the_weights_in_training_only():
    layer = nn.MultiheadAttention(E, HEADS, dropout=1.0)
    x = tg.tensor(draw(L, N, E)).float()
    out, weights = layer(x, x, x)
    np.testing.assert_array_equal(weights.numpy(), 0)
    np.testing.assert_array_equal(out.numpy(), 0)
    _, weights = layer.eval()(x, x, x)
    np.testing.assert_allclose(weights.numpy().sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "use, error, message",
    [
        (lambda m, x: nn.MultiheadAttention(6, 4), ValueError, "num_heads divides, got 6 and 4"),
        (lambda m, x: nn.MultiheadAttention(6, 2, 1.5), ValueError, "dropout=1.5"),
        (lambda m, x: m(x, x, x, is_causal=True), ValueError, "causal attn_mask"),
        (lambda m, x: m(x[0], x, x), ValueError, r"query \(2, 6\), key \(3, 2, 6\).*dimensions"),
        (lambda m, x: m(x, x[1:], x), ValueError, "equally long"),
        (lambda m, x: m(x, x[:, :1], x[:, :1]), ValueError, "one batch size"),
        (lambda m, x: m(x, x[..., :5], x), ValueError, "widths 6, 6 and 6"),
        (
            lambda m, x: m(x, x, x, key_padding_mask=tg.zeros(3, 2)),
            ValueError,
            r"key_padding_mask has shape \(3, 2\), expected \(2, 3\)",
        ),
        (
            lambda m, x: m(x, x, x, attn_mask=tg.zeros(2, 3, 3)),
            ValueError,
            r"attn_mask has shape \(2, 3, 3\), expected \(3, 3\) or \(4, 3, 3\)",
        ),
        (
            lambda m, x: m(x, x, x, attn_mask=tg.zeros(3, 3, dtype=np.int64)),
            TypeError,
            "boolean or floating, not int64",
        ),
        (
            lambda m, x: m(x, x, x, attn_mask=tg.zeros(3, 3, dtype=np.float64)),
            TypeError,
            "boolean or float32, not float64",
        ),
    ],
)
def test_errors(use, error, message):
    with pytest.raises(error, match=message):
        use(nn.MultiheadAttention(6, 2), tg.zeros(3, 2, 6))
