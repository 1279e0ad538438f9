"""Cases of attention, dropout, embeddings and the similarity of vectors."""

import numpy as np
from op_case import Case, Input, case, exactly, fixed, labels, mask, options, real

import tinygrad_ft as tg

# ---- attention -----------------------------------------------------------------------------------


def attend(q, k, v, allowed=None, causal=False, scale=None):
    """One query at a time; `allowed` is a boolean mask or numbers to add."""
    batch = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    length, keys = q.shape[-2], k.shape[-2]
    q, k, v = (np.broadcast_to(a, batch + a.shape[-2:]) for a in (q, k, v))
    if allowed is not None:
        allowed = np.broadcast_to(allowed, (*batch, length, keys))
    out = np.zeros((*batch, length, v.shape[-1]), v.dtype)
    for place in np.ndindex(*batch, length):
        row, terms = place[:-1], {}
        for j in range(keys):
            score = q[place] @ k[(*row, j)] * (scale or 1 / np.sqrt(q.shape[-1]))
            if allowed is not None and allowed.dtype == np.bool_:
                score = score if allowed[(*place, j)] else -np.inf
            elif allowed is not None:
                score = score + allowed[(*place, j)]
            if not (causal and j > place[-1]) and score > -np.inf:
                terms[j] = np.exp(score)
        for j, term in terms.items():
            out[place] += term / sum(terms.values()) * v[(*row, j)]
    return out


SDPA = "scaled_dot_product_attention"
Q, K, V = real(2, 2), real(3, 2), real(3, 1)
SOME = exactly([[True, False, True], [True, True, False]])
NONE_FOR_ONE = exactly([[True, False, True], [False, False, False]])
INFINITE = Input(lambda rng: np.array([[0.3, -np.inf, 1.2], [-np.inf] * 3]), fixed=True)


def grouped(q, k, v):
    return attend(q, np.repeat(k, 2, axis=-3), np.repeat(v, 2, axis=-3))


ATTENTION = [
    case(SDPA, [Q, K, V], attend, order=3),
    case(SDPA, [real(2, 1, 2, 1), real(2, 2, 2, 1), real(2, 2, 2, 1)], attend, note="batch"),
    case(SDPA, [Q, K, V, SOME], attend, note="mask"),
    case(SDPA, [real(2, 1, 2), real(2, 2, 2), real(2, 2, 1), mask(1, 2)], attend, note="mask row"),
    case(SDPA, [Q, K, V, NONE_FOR_ONE], attend, note="nothing left"),
    case(SDPA, [Q, K, V, real(2, 3)], attend, note="added mask"),
    case(SDPA, [Q, K, V, INFINITE], attend, note="infinite mask"),
    case(SDPA, [Q, K, V], lambda *a: attend(*a, causal=True), options(is_causal=True),
         note="causal"),
    case(SDPA, [Q, K, V], lambda *a: attend(*a, scale=2.5), options(scale=2.5), note="scale"),
    case(SDPA, [real(2, 2, 1), real(1, 2, 1), real(1, 2, 2)], grouped, options(enable_gqa=True),
         note="groups"),
    case(SDPA, [real(2, 0, 2), real(2, 3, 2), real(2, 3, 1)], attend, note="no queries"),
    case(SDPA, [real(1, 2), real(0, 2), real(0, 3)], attend, note="no keys"),
]  # fmt: skip

# ---- dropout -------------------------------------------------------------------------------------


def seeded(f, x, **settings):
    tg.manual_seed(3)
    return f(x, p=0.4, **settings)


def kept(*shape):
    return np.random.Generator(np.random.PCG64(3)).random(shape, dtype=np.float32) >= 0.4


def alpha_dropped(x):
    floor, keep = -1.7580993408473766, 0.6
    a = (keep + floor**2 * keep * (1 - keep)) ** -0.5
    return a * np.where(kept(*x.shape), x, floor) - a * (1 - keep) * floor


OFF, ALL = options(training=False), options(p=1.0)

DROPOUTS = [
    case("dropout", [real(3, 4)], lambda x: np.where(kept(3, 4), x / 0.6, 0), seeded, torch=False),
    case("dropout", [real(3)], lambda x: x, OFF, note="off"),
    case("dropout", [real(3)], np.zeros_like, ALL, note="all"),
    case("dropout", [real(0, 2)], np.zeros_like, note="empty"),
    case("dropout1d", [real(2, 3, 2)], lambda x: np.where(kept(2, 3, 1), x / 0.6, 0), seeded,
         torch=False),
    case("dropout1d", [real(3, 2)], lambda x: np.where(kept(3, 1), x / 0.6, 0), seeded,
         torch=False, note="no batch"),
    case("dropout1d", [real(0, 2, 1)], np.zeros_like, note="empty"),
    case("dropout2d", [real(2, 3, 1, 2)], lambda x: np.where(kept(2, 3, 1, 1), x / 0.6, 0), seeded,
         torch=False),
    case("dropout2d", [real(3, 2, 1)], lambda x: np.where(kept(3, 1, 1), x / 0.6, 0), seeded,
         torch=False, note="no batch"),
    case("dropout2d", [real(1, 2, 1, 2)], lambda x: x, OFF, note="off"),
    case("dropout2d", [real(1, 2, 0, 2)], np.zeros_like, note="empty"),
    case("alpha_dropout", [real(3, 4)], alpha_dropped,
         lambda f, x: seeded(f, x, training=True), torch=False),
    case("alpha_dropout", [real(3)], lambda x: x, note="off"),
    case("alpha_dropout", [real(3)], np.zeros_like, options(p=1.0, training=True), note="all"),
    case("alpha_dropout", [real(0, 3)], np.zeros_like, note="empty"),
]  # fmt: skip

# ---- embeddings ----------------------------------------------------------------------------------


def looked_up(f, weight, ids, **settings):
    return f(ids, weight, **settings)


def rows(note: str, weight: Input, ids: Input) -> Case:
    return case("embedding", [weight, ids], lambda w, i: w[i], looked_up, note=note, order=3)


EMBEDDINGS = [
    rows("", real(4, 2), exactly([2, 0, 2, 3])),
    rows("matrix", real(3, 2), labels(2, 3, below=3)),
    rows("one", real(3, 2), exactly(1)),
    rows("no ids", real(3, 2), labels(2, 0, below=3)),
    rows("no width", real(3, 0), labels(2, below=3)),
]

# ---- similarity ----------------------------------------------------------------------------------


def length(x, dim):
    return np.sqrt((x * x).sum(dim, keepdims=True))


def cosine(a, b, dim=1):
    return (a / length(a, dim) * (b / length(b, dim))).sum(dim)


def p_normalized(x, p, dim):
    return x / (np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p)


def bilinear(a, b, w, *bias):
    return np.einsum("...i,oij,...j->...o", a, w, b) + (bias[0] if bias else 0)


SIMILARITIES = [
    case("cosine_similarity", [real(2, 3), real(2, 3)], cosine, order=3),
    case("cosine_similarity", [real(2, 1, 2), real(3, 2)], lambda a, b: cosine(a, b[None], -1),
         options(dim=-1), note="broadcast"),
    case("cosine_similarity", [real(3), real(3)], lambda a, b: cosine(a, b, 0), options(dim=0),
         note="vectors"),
    case("cosine_similarity", [real(3, 2), real(1, 2)],
         lambda a, b: cosine(a, np.tile(b, (3, 1)), 0), options(dim=0), note="one for all"),
    case("cosine_similarity", [real(0, 3), real(0, 3)], cosine, note="empty"),
    case("normalize", [real(2, 3)], lambda x: p_normalized(x, 2, 1), order=3),
    case("normalize", [real(2, 3)], lambda x: p_normalized(x, 3, 0), options(p=3.0, dim=0),
         note="p"),
    case("normalize", [fixed(2, 2, positive=True), real(2, 2)], lambda f, x: x / 100,
         lambda f, _, x: f(x, eps=100.0), note="eps"),
    case("normalize", [real(2, 0)], np.zeros_like, note="empty"),
    case("pairwise_distance", [real(2, 3), real(2, 3)],
         lambda a, b: length(a - b + 1e-6, -1)[..., 0], order=3),
    case("pairwise_distance", [real(2, 3), real(3)],
         lambda a, b: (np.abs(a - b + 1e-6) ** 3).sum(-1, keepdims=True) ** (1 / 3),
         options(p=3.0, keepdim=True), note="p"),
    case("pairwise_distance", [real(0, 3), real(3)], lambda a, b: np.zeros(0), note="empty"),
    case("bilinear", [real(2, 2), real(2, 1), real(2, 2, 1), real(2)], bilinear, order=3),
    case("bilinear", [real(2), real(1), real(3, 2, 1)], bilinear, note="vectors"),
    case("bilinear", [real(0, 2), real(0, 1), real(2, 2, 1)], bilinear, note="empty"),
]  # fmt: skip
