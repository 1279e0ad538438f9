"""The report in a real browser, where there is one: nothing sticks out, nothing is loaded."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_train_report import ODD, history, page

from tinygrad_ft.models import create_model
from tinygrad_ft.train import Preprocessing, plots

PHONE, DESK = 375, 1280
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)

# Each page in a frame of a phone's and of a desk's width; every element that sticks out of the page
# is named, but for what lies in a box of its own that scrolls. Every picture must have arrived.
HARNESS = """<!doctype html><meta charset="utf-8"><pre id="out"></pre>{frames}<script>
const found = {{}};
addEventListener("load", () => {{ for (const frame of document.querySelectorAll("iframe")) {{
  const page = frame.contentDocument, width = page.documentElement.clientWidth;
  const scrolls = (e) => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const out = [...page.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement));
  found[frame.id] = {{
    width, page: page.documentElement.scrollWidth, out: out.slice(0, 5).map((e) => e.outerHTML.slice(0, 80)),
    pictures: [...page.images].length, empty: [...page.images].filter((i) => !i.naturalWidth).length,
    text: page.body.innerText.length, height: page.documentElement.scrollHeight }};
  }}
  document.getElementById("out").textContent = JSON.stringify(found);
}});
</script>"""  # noqa: E501
FRAME = '<iframe id="{id}" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>'


def browse(pages: dict[str, str], folder: Path) -> tuple[dict[str, dict], list[str]]:
    """What was measured of each page, by "name width", and the lines of the browser's console."""
    frames = "".join(
        FRAME.format(id=f"{name} {width}", width=width, page=html.escape(text))
        for name, text in pages.items()
        for width in (PHONE, DESK)
    )
    (folder / "harness.html").write_text(HARNESS.format(frames=frames), encoding="utf-8")
    assert BROWSER is not None
    said = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom",
            (folder / "harness.html").as_uri(),
        ],
        capture_output=True, encoding="utf-8", timeout=120, check=False,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    out = re.search(r'<pre id="out">(.*?)</pre>', said.stdout, re.DOTALL)
    if out is None or not out.group(1):
        pytest.skip(f"the browser does not start here: {said.stderr[-300:]}")
    return json.loads(html.unescape(out.group(1))), re.findall(r"CONSOLE.*", said.stderr)


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_reports_fit_a_phone_and_load_nothing(tmp_path: Path) -> None:
    extras = {
        "model": create_model("resnet8", num_classes=len(ODD), width=4),
        "preprocessing": Preprocessing(8, (0.5,) * 3, (0.25,) * 3),
        "temperature": 1.7,
        "tables": [("Ways", ["way", *"abcdefgh"], [["x" * 60, *["99.99% ± 0.1%"] * 8]])],
        "figures": [("Together", plots.compare({"one": [history(4)]}))],
        "facts": [("started from", "runs/" + "w" * 90 + ".safetensors")],
        "command": "tinygrad-ft finetune " + "p" * 120,
    }
    pages = {
        "odd": page(tmp_path / "odd.html", ODD, **extras),
        "two": page(tmp_path / "two.html", ["cat", "dog"]),
        "many": page(tmp_path / "many.html", [f"class number {i}" for i in range(40)]),
    }
    broken = (
        "<style>body{margin:0}</style><div style='width:700px'>x</div><img src='http://x.y/z.png'>"
    )
    pages["broken"] = f"<meta http-equiv='Content-Security-Policy' content='img-src data:'>{broken}"
    found, console = browse(pages, tmp_path)
    assert len(found) == 2 * len(pages)
    # the harness sees what is wrong: a page too wide, a picture that is missing, a complaint
    wrong = found.pop(f"broken {PHONE}")
    assert (wrong["page"], wrong["empty"], len(wrong["out"])) == (700, 1, 1)
    found.pop(f"broken {DESK}")
    assert len(console) == 2
    assert all("z.png" in line for line in console)
    for name, numbers in found.items():
        width = int(name.split()[1])
        assert numbers["width"] in range(width - 20, width + 1), name
        assert numbers["page"] <= numbers["width"], name
        assert numbers["out"] == [], name
        assert numbers["empty"] == 0
        assert numbers["pictures"] >= 6
        assert numbers["text"] > 500
