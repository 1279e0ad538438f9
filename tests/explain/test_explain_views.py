"""The special views: what they show adds up to the engine's numbers."""

import numpy as np
import pytest
from explain_helpers import explained, network_loss, op

import tinygrad_ft as tg
from tinygrad_ft.explain import views
from tinygrad_ft.explain.explanation import Explanation


def backward_of(e: Explanation, name: str) -> views.View:
    found = views.backward_view(next(s for s in e.backward.steps if s.op.name == name))
    assert found is not None
    return found


def summed(probe: views.View) -> float:
    for table in probe["tables"]:
        products = np.array(table["a"]) * np.array(table["b"])
        assert products.sum() == pytest.approx(table["sum"], rel=1e-5, abs=1e-5)
    return sum(t["sum"] for t in probe["tables"]) + probe["rest"]


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 1), ((2, 1), (1, 0), 1, 2), (3, 1, 1, 4)],
)
def test_convolution(stride: int, padding: int, dilation: int, groups: int) -> None:
    """The window's products give the output; one weight and one pixel get their gradients back."""
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.standard_normal((3, 4, 9, 8)).astype(np.float32), requires_grad=True)
    w = tg.tensor(
        rng.standard_normal((8, 4 // groups, 3, 3)).astype(np.float32), requires_grad=True
    )
    e = explained(lambda: (tg.conv2d(x, w, None, stride, padding, dilation, groups) ** 2).sum())
    view = views.forward_view(op(e, "Conv2d"))
    assert view is not None and len(view["probes"]) == 3
    out = op(e, "Conv2d").outputs[0].array
    assert out is not None
    for probe in view["probes"]:
        assert probe["value"] == pytest.approx(float(out[tuple(probe["place"])]), rel=1e-6)
        assert summed(probe) == pytest.approx(probe["value"], abs=1e-4)
    back = backward_of(e, "Conv2d")
    x_grad, w_grad = next(s for s in e.backward.steps if s.op.name == "Conv2d").outgoing
    assert x_grad is not None and w_grad is not None
    weight, pixel = back["weight"], back["pixel"]
    assert abs(weight["value"]) == pytest.approx(np.abs(w_grad).max())
    assert weight["total"] == pytest.approx(weight["value"], rel=1e-3, abs=1e-3)
    assert pixel["value"] == pytest.approx(float(x_grad[tuple(pixel["place"])]), rel=1e-6)
    assert pixel["total"] == pytest.approx(pixel["value"], rel=1e-3, abs=1e-3)
    assert summed(pixel) == pytest.approx(pixel["value"], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("inner", [3, 40])
def test_matrix_product(inner: int) -> None:
    rng = np.random.default_rng(0)
    a = tg.tensor(rng.standard_normal((4, inner)), requires_grad=True)
    b = tg.tensor(rng.standard_normal((inner, 5)), requires_grad=True)
    e = explained(lambda: tg.exp(a @ b).sum())
    forward = views.forward_view(op(e, "MatMul"))
    assert forward is not None
    back = backward_of(e, "MatMul")
    assert [p["title"] for p in back["products"]] == [
        "grad_a = grad_out @ b^T",
        "grad_b = a^T @ grad_out",
    ]
    for product in (*forward["products"], *back["products"]):
        for probe in product["probes"]:
            terms = np.dot(probe["row"], probe["column"]) + probe["rest"]
            assert terms == pytest.approx(probe["value"], rel=1e-5)
        assert ("whole" in product) == (product["inner"] <= 16)


@pytest.mark.parametrize(
    ("op_name", "target"), [("CrossEntropy", [1, 0]), ("LogSoftmax", [[0.0, 1, 0], [1, 0, 0]])]
)
def test_softmax_with_cross_entropy_is_p_minus_y(op_name: str, target: list) -> None:
    """Of classes, which are one op, and of probabilities."""
    scores = tg.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]], requires_grad=True)
    e = explained(lambda: tg.nn.functional.cross_entropy(scores, tg.tensor(target)))
    rows = backward_of(e, op_name)["rows"]
    assert np.allclose([r["y"] for r in rows], np.eye(3)[[1, 0]])
    for row in rows:
        assert row["weight"] == 0.5 and sum(row["p"]) == pytest.approx(1)
        assert np.allclose((np.array(row["p"]) - row["y"]) * row["weight"], row["gradient"])


def test_batch_norm_before_and_after() -> None:
    _, compute = network_loss()
    e = explained(compute)
    view = views.forward_view(op(e, "BatchNorm"))
    assert view is not None and view["all"] == 3 and view["count"] == 4 * 4 * 3
    x = op(e, "BatchNorm").inputs[0]
    assert x is not None and x.array is not None
    for c in view["channels"]:
        channel = x.array[:, c["channel"]]
        assert c["mean"] == pytest.approx(channel.mean(), abs=1e-6)
        assert c["std"] == pytest.approx(channel.std(), rel=1e-5)
        assert sum(c["before"]["counts"]) == sum(c["after"]["counts"]) == view["count"]


def test_relu_shows_its_mask_and_sigmoid_its_curve() -> None:
    x = tg.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    e = explained(lambda: tg.sigmoid(tg.relu(x)).sum())
    relu, sigmoid = (views.forward_view(op(e, n)) for n in ("ReLU", "Sigmoid"))
    assert relu is not None and (relu["passing"], relu["of"]) == (2, 3)
    assert sigmoid is not None and sigmoid["points"][0] == [0, 0, 2]
    assert np.allclose(sigmoid["ys"], 1 / (1 + np.exp(-np.array(sigmoid["xs"]))), atol=1e-4)


def test_an_op_of_which_numbers_are_missing_has_no_view() -> None:
    from tinygrad_ft.explain.explanation import explanation_of

    x, w = tg.ones(1, 2), tg.ones(2, 1, requires_grad=True)
    e = explanation_of((tg.relu(x @ w) * 3).sum(), None, title="")
    assert [views.forward_view(o) for o in e.graph.ops] == [None] * 4
