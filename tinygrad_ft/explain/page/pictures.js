// Pictures of arrays: tables with tinted cells, tiles of pixels, histograms and curves.

const darkScreen = matchMedia("(prefers-color-scheme: dark)");

// blue for negative, orange for positive, the background's tone for 0: apart for every eye
const POLES = {
  light: { minus: [29, 95, 196], zero: [246, 247, 250], plus: [217, 95, 2], odd: [220, 0, 120] },
  dark: { minus: [94, 160, 255], zero: [30, 35, 44], plus: [255, 153, 64], odd: [255, 80, 170] },
};

function tone(t) {
  const poles = darkScreen.matches ? POLES.dark : POLES.light;
  if (Number.isNaN(t)) return poles.odd;
  const end = t < 0 ? poles.minus : poles.plus;
  // a gentle curve: small values stay visible
  const share = Math.min(1, Math.abs(t)) ** 0.7;
  return poles.zero.map((z, i) => Math.round(z + (end[i] - z) * share));
}

const bytesOf = new Map();
function pixels(picture) {
  if (!bytesOf.has(picture)) {
    bytesOf.set(picture, Uint8Array.from(atob(picture.data), (c) => c.charCodeAt(0)));
  }
  return bytesOf.get(picture);
}

function level(byte) {
  return byte === 255 ? NaN : (byte - 127) / 127;
}

function colourAt(picture, tile, y, x) {
  const data = pixels(picture);
  const plane = picture.height * picture.width;
  const at = tile * plane + y * picture.width + x;
  if (picture.image === "colour") {
    return [0, 1, 2].map((c) => Math.round(127.5 + 127.5 * level(data[c * plane + y * picture.width + x])));
  }
  if (picture.image === "grey") {
    const grey = Math.round(255 * Math.max(0, level(data[at])));
    return [grey, grey, grey];
  }
  return tone(level(data[at]));
}

// a canvas with the tiles side by side; `only` chooses one tile, `marks` are boxes drawn over it
function drawTiles(picture, label, { width = 300, only = null, marks = [], largest = 22 } = {}) {
  const tiles = only !== null ? [only] : picture.image === "colour" ? [0] : [...Array(picture.tiles).keys()];
  const gap = tiles.length > 1 ? 2 : 0;
  const aspect = picture.width / picture.height;
  let columns = tiles.length <= 4 ? tiles.length : Math.max(1, Math.min(tiles.length, Math.ceil(Math.sqrt((tiles.length * 2.2) / aspect))));
  columns = Math.ceil(tiles.length / Math.ceil(tiles.length / columns));
  const ratio = Math.min(3, Math.max(2, Math.ceil(devicePixelRatio || 1)));
  const room = (width - (columns - 1) * gap) / columns / picture.width;
  const size = Math.max(1 / ratio, Math.min(largest, room * picture.width > 170 && tiles.length > 1 ? 170 / picture.width : room));
  const dot = Math.max(1, Math.floor(size * ratio));
  const rows = Math.ceil(tiles.length / columns);
  const canvas = element("canvas", { role: "img", "aria-label": label });
  canvas.width = columns * picture.width * dot + (columns - 1) * gap * ratio;
  canvas.height = rows * picture.height * dot + (rows - 1) * gap * ratio;
  canvas.style.width = `${canvas.width / ratio}px`;
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    tiles.forEach((tile, k) => {
      const left = (k % columns) * (picture.width * dot + gap * ratio);
      const top = Math.floor(k / columns) * (picture.height * dot + gap * ratio);
      for (let y = 0; y < picture.height; y++) {
        for (let x = 0; x < picture.width; x++) {
          pen.fillStyle = `rgb(${colourAt(picture, tile, y, x).join(",")})`;
          pen.fillRect(left + x * dot, top + y * dot, dot, dot);
        }
      }
    });
    for (const [y, x, height, wide] of marks) {
      const inset = ratio;
      const frame = [x * dot, y * dot, wide * dot, height * dot];
      pen.lineWidth = 2 * ratio;
      pen.strokeStyle = "#fff";
      pen.strokeRect(frame[0] - inset / 2, frame[1] - inset / 2, frame[2] + inset, frame[3] + inset);
      pen.lineWidth = ratio;
      pen.strokeStyle = "#d0004f";
      pen.strokeRect(...frame);
    }
  };
  paint();
  canvas.repaint = paint;
  return canvas;
}

darkScreen.addEventListener("change", () => {
  document.querySelectorAll("canvas").forEach((canvas) => canvas.repaint?.());
  document.querySelectorAll("[data-tone]").forEach(tint);
});

function tint(cell) {
  cell.style.backgroundColor = `rgb(${tone(Number(cell.dataset.tone)).join(",")})`;
  // black or white, whichever has more contrast: 4.58 at the least (relative luminance of WCAG 2)
  const [r, g, b] = tone(Number(cell.dataset.tone)).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  cell.style.color = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

// a table of numbers, tinted by sign and size; `look(flat)` may add a class and a click to a cell
function numberTable(data, shape, label, look = () => ({}), digits = 4) {
  const longest = Math.max(1, ...data.map((x) => short(x, digits).length));
  const fits = Math.max(2, Math.floor(panelWidth() / (longest * 8.2 + 15)));
  const columns = shape.length === 0 ? 1 : shape.length === 1 ? Math.min(shape[0], fits) : shape.at(-1);
  const largest = Math.max(...data.map((x) => Math.abs(value(x))).filter(Number.isFinite), 0) || 1;
  const body = element("tbody");
  for (let start = 0; start < data.length; start += columns) {
    const row = element("tr");
    data.slice(start, start + columns).forEach((x, k) => {
      const extra = look(start + k);
      const cell = element("td", {
        "data-value": x,
        "data-tone": typeof x === "boolean" ? (x ? 1 : 0) : value(x) / largest,
        class: extra.class,
        title: `[${placeOf(start + k, shape).join(", ")}] = ${x}`,
      });
      if (extra.action) {
        cell.append(button(short(x, digits), extra.action, {
          class: "cell", "aria-label": `${extra.label ?? ""} ${placeOf(start + k, shape).join(", ")}: ${short(x)}`,
        }));
      } else {
        cell.append(short(x, digits));
      }
      tint(cell);
      row.append(cell);
    });
    body.append(row);
    const rows = start / columns + 1;
    if (shape.length > 2 && rows % shape.at(-2) === 0 && start + columns < data.length) {
      body.append(element("tr", { class: "gap", "aria-hidden": "true" }));
    }
  }
  return element("div", { class: "scroll" }, element("table", { class: "numbers", "aria-label": label }, body));
}

function histogramOf(h, label, width = 220, height = 54, range = null) {
  const tallest = Math.max(...h.counts, 1);
  const low = range ? range[0] : h.low, high = range ? range[1] : h.high;
  const span = high - low || 1;
  const at = (x) => ((x - low) / span) * width;
  const step = (h.high - h.low || 1) / (h.counts.length || 1);
  const bars = h.counts.map((count, i) => {
    const middle = h.low + (i + 0.5) * step;
    const tall = count ? Math.max(1, (Math.sqrt(count / tallest)) * height) : 0;
    return svg("rect", {
      x: at(h.low + i * step), width: Math.max(0.5, (step / span) * width - 0.6),
      y: height - tall, height: tall, class: middle < 0 ? "minus" : "plus",
    });
  });
  const zero = low < 0 && high > 0 ? svg("line", { x1: at(0), x2: at(0), y1: 0, y2: height, class: "axis" }) : null;
  const text = (x, anchor, shown) => svg("text", { x, y: height + 12, "text-anchor": anchor }, shown);
  return svg("svg", {
    viewBox: `0 0 ${width} ${height + 15}`, class: "histogram", role: "img",
    "aria-label": `${label}: histogram from ${short(h.low)} to ${short(h.high)}, heights by square root`,
  }, bars, zero, text(0, "start", short(low, 3)), text(width, "end", short(high, 3)));
}

// the graph of a function with the elements of the array on it
function curveOf(view, label, width = 260, height = 130) {
  const xs = view.xs.map(value), ys = view.ys.map(value);
  const good = ys.filter(Number.isFinite);
  const [left, right] = [xs[0], xs.at(-1)];
  const low = Math.min(...good), high = Math.max(...good);
  const pad = 8;
  const px = (x) => pad + ((x - left) / (right - left || 1)) * (width - 2 * pad);
  const py = (y) => height - pad - ((y - low) / (high - low || 1)) * (height - 2 * pad);
  const line = xs.map((x, i) => (Number.isFinite(ys[i]) ? `${px(x).toFixed(1)},${py(ys[i]).toFixed(1)}` : null)).filter(Boolean);
  const [vx, vy] = view.points.map((list) => list.map(value));
  const points = vx.map((x, i) => Number.isFinite(x + vy[i])
    ? svg("circle", { cx: px(x).toFixed(1), cy: py(vy[i]).toFixed(1), r: 3.2 }) : null);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": label },
    svg("line", { x1: px(0), x2: px(0), y1: pad, y2: height - pad, class: "axis" }),
    low <= 0 && high >= 0 ? svg("line", { x1: pad, x2: width - pad, y1: py(0), y2: py(0), class: "axis" }) : null,
    svg("polyline", { points: line.join(" ") }), points);
}
