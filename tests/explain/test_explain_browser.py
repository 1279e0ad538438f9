"""The page in a browser: opened, stepped through, photographed, its numbers compared."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser

from tinygrad_ft.explain.examples import EXAMPLES, explain_example
from tinygrad_ft.explain.explanation import Explanation
from tinygrad_ft.explain.page import html

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium or Chrome to open the page with"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    opened = Browser(PROGRAM)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Explanation, Path]]:
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name in EXAMPLES:
        e = explain_example(name)
        found[name] = e, folder / f"{name}.html"
        found[name][1].write_text(html(e), encoding="utf-8")
    return found


Pages = dict[str, tuple[Explanation, Path]]


def shown(browser: Browser, selector: str) -> list[float]:
    """The numbers that stand in the elements, as the page has them in full."""
    values = browser.js(f"[...document.querySelectorAll({selector!r})].map((e) => e.dataset.value)")
    return [float(v) for v in values]


# by the arrow key from the first step to the last: the title, the lit ops, cards, special view
WALK = """
(() => {
  const seen = [];
  for (let i = 0; i < COUNT; i++) {
    seen.push([document.querySelector('h2').textContent,
      document.querySelectorAll('#graph .op.now').length,
      document.querySelectorAll('#step .card').length,
      document.querySelector('.view')?.classList[1] ?? '']);
    document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
  }
  return seen;
})()
"""
VIEWS = {
    "cnn": {"conv", "conv-back", "relu", "matmul", "softmax"},
    "residual": {"conv", "batch-norm"},
    "layer": {"curve", "matmul"},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_step_of_every_example_is_drawn(browser: Browser, pages: Pages, name: str) -> None:
    """Each lights one op and shows its arrays, and the special views are there."""
    e, path = pages[name]
    browser.problems.clear()
    browser.look(1280, 800)
    browser.open(path)
    titles = [op.name for op in (*e.graph.ops, *(s.op for s in e.backward.steps))]
    ops = len(titles)
    titles += [e.optimizer_step.name] if e.optimizer_step is not None else []
    seen = browser.js(WALK.replace("COUNT", str(len(titles))))
    assert [title for title, *_ in seen] == titles
    assert [lit for _, lit, *_ in seen] == [1] * ops + [0] * (len(titles) - ops)
    assert min(cards for _, _, cards, _ in seen) >= 2
    assert {view for *_, view in seen} >= VIEWS.get(name, set())
    assert browser.js("document.body.dataset.step") == str(len(titles) - 1)
    assert browser.problems == []


def test_the_numbers_shown_are_the_engines(browser: Browser, pages: Pages) -> None:
    """Forward, backward and the optimizer's step of the layer that was worked by hand."""
    e, path = pages["layer"]
    browser.look(1280, 800)
    browser.open(path)
    steps = [*e.graph.ops, *e.backward.steps]
    for i, step in enumerate(steps):
        if i < len(e.graph.ops):
            op = e.graph.ops[i]
            arrays = [v.array for v in (*op.inputs, *op.outputs) if v is not None]
        else:
            backward = e.backward.steps[i - len(e.graph.ops)]
            arrays = [g for g in (*backward.incoming, *backward.outgoing) if g is not None]
        expected = np.concatenate([np.reshape(a, -1) for a in arrays if a is not None])
        found = shown(browser, "#step .card .numbers [data-value], #step .card .scalar")
        assert np.array_equal(found, expected), step
        browser.press("ArrowRight")
    assert e.optimizer_step is not None
    expected = np.concatenate(
        [
            np.reshape(a, -1)
            for u in e.optimizer_step.updates
            for a in (u.before, u.gradient, u.after)
        ]
    )
    assert np.array_equal(shown(browser, "#step .card .numbers [data-value]"), expected)
    assert shown(browser, "#loss") == [float(e.graph.loss.array)]  # type: ignore[arg-type]


def test_finite_differences_stand_beside_the_gradients(browser: Browser, pages: Pages) -> None:
    e, path = pages["shared"]
    browser.open(path, step=6)
    table = np.array(shown(browser, "#step .checks td[data-value]")).reshape(-1, 3)
    a, b = (next(v for v in e.graph.values if v.name == n) for n in "ab")
    expected = [e.checks[v.number][0] for v in (a, b)]
    assert np.allclose(table[:, 0], [c.backprop for c in expected])
    assert np.allclose(table[:, 1], [c.difference for c in expected])
    text = browser.js("document.querySelector('.accumulate').textContent")
    assert "a is used 2 times. This is part 2 of 2" in text and text.endswith("24")


def test_a_matrix_product_by_choice(browser: Browser, pages: Pages) -> None:
    _, path = pages["layer"]
    browser.look(1280, 900)
    browser.open(path, step=2)
    browser.click(".view .cell")  # out[0, 0]
    line = browser.js("document.querySelector('.view .sumline').textContent")
    assert line == "out[0, 0] = 0.5 · 1 + (−0.25) · 2 = 0"


def test_controls(browser: Browser, pages: Pages) -> None:
    """Buttons, keys, the scrubber and play lead to the steps they promise."""
    e, path = pages["moons"]
    forward, steps = len(e.graph.ops), len(e.graph.ops) + len(e.backward.steps) + 1
    at = lambda: int(browser.js("document.body.dataset.step"))  # noqa: E731
    browser.look(1280, 800)
    browser.open(path)
    assert at() == 0 and browser.js("document.getElementById('back').disabled")
    browser.click("#next")
    browser.press("ArrowRight")
    assert at() == 2
    browser.press("ArrowLeft")
    browser.click("#back")
    assert at() == 0
    browser.press("b")
    assert at() == forward
    browser.press("End")
    assert at() == steps - 1 and browser.js("document.getElementById('next').disabled")
    browser.press("Home")
    browser.click("#turn")
    assert at() == forward
    browser.js(
        "(() => { const s = document.getElementById('scrubber'); s.value = 7; "
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert at() == 7
    browser.click("#play")
    assert browser.js("document.getElementById('play').getAttribute('aria-label')") == "Pause"
    browser.press("ArrowRight")  # any step of one's own stops it
    assert browser.js("document.getElementById('play').getAttribute('aria-label')") == "Play"
    assert "of" in browser.js("document.getElementById('count').textContent")
    browser.click("[data-pane=steps]")
    browser.click("#steps [data-step='3']")
    assert at() == 3 and browser.js("!document.getElementById('step').hidden")
    browser.click(".op[data-op='4'] rect")
    assert at() == 4


def test_modules_close_and_open(browser: Browser, pages: Pages) -> None:
    e, path = pages["finetune"]
    count = lambda: browser.js("document.querySelectorAll('#graph .op').length")  # noqa: E731
    browser.look(1280, 800)
    browser.open(path)
    browser.click("#open-all")
    assert count() == len(e.graph.ops)
    browser.click("#close-all")
    assert count() == 2  # the model and the loss
    # by keyboard: the model's node is a button that says what it is
    browser.js("document.querySelector('[data-group=model]').focus()")
    label = browser.js("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("module model, CifarResNet, ") and label.endswith("ops: open")
    browser.press("Enter")
    assert count() > 2
    assert browser.js("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_for_screen_readers(browser: Browser, pages: Pages) -> None:
    """Every control has a name, each step is announced, and Tab goes in the order of reading."""
    _, path = pages["cnn"]
    browser.look(1280, 800)
    browser.open(path)
    browser.press("ArrowRight")
    spoken = browser.js("document.getElementById('spoken').textContent")
    assert spoken == "Step 2 of 31, Forward: Reshape in model 0, gives 1 by 4 by 1 by 1"
    assert browser.js("document.getElementById('spoken').getAttribute('aria-live')") == "polite"
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "tab", "checkbox", "slider", "img", "tabpanel", "toolbar"}
    nameless = [
        n["role"]["value"]
        for n in tree
        if not n.get("ignored")
        and n.get("role", {}).get("value") in roles
        and not n.get("name", {}).get("value")
    ]
    assert nameless == []
    order = []
    browser.js("document.activeElement.blur()")
    for _ in range(60):
        browser.press("Tab")
        order.append(browser.js("document.activeElement.id || document.activeElement.dataset.pane"))
    first = [order.index(name) for name in ("closer", "follow", "step", "first", "scrubber")]
    assert first == sorted(first)
    assert browser.js("document.documentElement.lang") == "en"


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (375, 812)])
@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read(
    browser: Browser, pages: Pages, width: int, height: int, dark: bool
) -> None:
    """At desk and phone width, light and dark: nothing runs out of the window, text has contrast,
    and there is something in the picture."""
    browser.look(width, height, dark)
    for step in (20, 30):
        browser.open(pages["cnn"][1], step=step)
        wide = browser.js("document.documentElement.scrollWidth")
        assert wide <= width
        outside = browser.js(
            "[...document.querySelectorAll('button, #scrubber, h1, h2, #count')].filter((e) => {"
            "const r = e.getBoundingClientRect(); return r.width && (r.left < -1 || r.right > "
            f"{width} + 1) && !e.closest('.scroll'); }}).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert outside == []
        weak = browser.js(CONTRAST)
        assert weak == []
    picture = browser.photograph()
    assert picture.shape == (height, width, 3)
    assert (picture.mean() < 90) == dark
    assert len(np.unique(picture.astype(np.int32) @ [1, 256, 65536])) > 100


# WCAG 2: 4.5 for text, 3 for large text; elements whose text stands on a plain background
CONTRAST = """
(() => {
  const parse = (c) => (c.match(/[0-9.]+/g) ?? []).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const weak = [];
  const texts = 'h1, h2, h3, h4 *, p, td, th, summary, button, li, dt, dd, figcaption';
  for (const e of document.querySelectorAll(texts)) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.disabled || e.closest('.dim')) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const enough = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < enough) weak.push([e.textContent.slice(0, 30), e.className, ratio.toFixed(2)]);
  }
  return weak;
})()
"""
