// The graph: ops, leaves and modules, placed by dagre, moved and lit as the steps go on.

const SIGNS = { Add: "+", Sub: MINUS, Mul: "×", Div: "÷", MatMul: "@", Sum: "∑", Pow: "xⁿ", Neg: "±",
  Conv2d: "▦", BatchNorm: "≈", Reshape: "▭", Permute: "⇄", MaxPool2d: "▣", AvgPool2d: "▢" };
const KIND_WORDS = { parameter: "parameter", frozen: "frozen parameter", data: "data" };

const graph = {
  view: document.getElementById("graph"),
  closed: new Set(),
  nodes: new Map(),
  edges: [],
  scale: 1,
  left: 0,
  top: 0,
};

const groupKey = (path) => path.join("\u0000");
const groups = new Map(DATA.groups.map((g) => [groupKey(g.path), g]));
const prefixes = (path) => path.map((_, i) => path.slice(0, i + 1));

// the outermost closed module on a path, or null
function coverOf(path) {
  return prefixes(boxOf(path)).find((p) => graph.closed.has(groupKey(p))) ?? null;
}

const opsOf = new Map();
DATA.ops.forEach((op, i) => prefixes(op.group).forEach((p) => {
  const key = groupKey(p);
  opsOf.set(key, [...(opsOf.get(key) ?? []), i]);
}));

// a module of one op and nothing else needs no box: its name is in the op's tooltip and panel
const thin = new Set(DATA.groups.map((g) => groupKey(g.path)).filter((key) =>
  opsIn(key.split("\u0000")).length === 1 && !DATA.values.some((v) => groupKey(v.group) === key)));
const boxOf = (path) => (thin.has(groupKey(path)) ? path.slice(0, -1) : path);

function opsIn(path) {
  return opsOf.get(groupKey(path)) ?? [];
}

const boxes = DATA.groups.filter((g) => !thin.has(groupKey(g.path)));
const visibleOps = () => new Set(DATA.ops.map((op, i) => { const c = coverOf(op.group); return c ? groupKey(c) : i; })).size;

// innermost modules first, until the picture can be read
function closeWhatIsTooMuch(limit = 46) {
  const depths = [...new Set(boxes.map((g) => g.path.length))].sort((a, b) => b - a);
  for (const depth of depths) {
    if (visibleOps() <= limit || depth === 1) return;
    boxes.filter((g) => g.path.length === depth).forEach((g) => graph.closed.add(groupKey(g.path)));
  }
}

const opNode = (i) => { const c = coverOf(DATA.ops[i].group); return c ? `g${groupKey(c)}` : `o${i}`; };
function leafNode(v) {
  const c = coverOf(DATA.values[v].group);
  return c ? `g${groupKey(c)}` : `v${v}`;
}

// within its module's box the last part of a name says enough
const leafName = (v) => (v.group.length && /[a-z]/i.test(v.name) ? v.name.split(".").at(-1) : v.name);

function textWidth(text, size) {
  return text.length * size * 0.6;
}

function layout() {
  const across = matchMedia("(max-width: 56rem)").matches;
  const g = new dagre.graphlib.Graph({ compound: true, multigraph: true });
  g.setGraph({ rankdir: across ? "LR" : "TB", nodesep: 22, ranksep: across ? 30 : 26, edgesep: 14, marginx: 30, marginy: 34 });
  g.setDefaultEdgeLabel(() => ({}));
  const openGroup = (path) => prefixes(path).forEach((p, i, all) => {
    const key = `c${groupKey(p)}`;
    if (!g.hasNode(key)) {
      g.setNode(key, { cluster: p });
      if (i > 0) g.setParent(key, `c${groupKey(all[i - 1])}`);
    }
  });
  const place = (key, label, path) => {
    if (g.hasNode(key)) return;
    g.setNode(key, label);
    if (path.length) { openGroup(path); g.setParent(key, `c${groupKey(path)}`); }
  };
  DATA.ops.forEach((op, i) => {
    const cover = coverOf(op.group);
    if (cover) {
      const label = cover.at(-1), kind = groups.get(groupKey(cover)).kind;
      place(`g${groupKey(cover)}`, { closed: cover, width: Math.max(96, textWidth(label, 15), textWidth(kind, 12) + 44) + 26, height: 52 }, cover.slice(0, -1));
    } else {
      place(`o${i}`, { op: i, width: textWidth(op.name, 14.5) + (SIGNS[op.name] ? 52 : 30), height: 38 }, boxOf(op.group));
    }
  });
  DATA.values.forEach((v, n) => {
    if (v.maker === null && v.uses.length && !coverOf(v.group)) {
      place(`v${n}`, { leaf: n, width: Math.max(30, textWidth(leafName(v), 13.5) + (v.kind === "frozen" ? 40 : 24)), height: 28 }, v.group);
    }
  });
  const goal = DATA.values[DATA.goal];
  const end = `${goal.name} = ${short(DATA.loss, 5)}`;
  g.setNode("end", { leaf: DATA.goal, text: end, width: textWidth(end, 13.5) + 28, height: 30 });
  g.setEdge(opNode(goal.maker), "end", { value: DATA.goal, label: "", width: 0, height: 0 }, "end");
  const drawn = new Map();
  DATA.values.forEach((v, n) => {
    const from = v.maker === null ? leafNode(n) : opNode(v.maker);
    v.uses.forEach((use) => {
      const to = opNode(use);
      const name = `${n}`;
      if (from === to || drawn.has(`${from}|${to}|${name}`)) return;
      drawn.set(`${from}|${to}|${name}`, true);
      const label = shapeText(v.shape) === "scalar" ? "" : shapeText(v.shape);
      g.setEdge(from, to, { value: n, label, detached: v.detached, width: label ? textWidth(label, 11.5) + 6 : 0, height: label ? 15 : 0, labelpos: "c" }, name);
    });
  });
  dagre.layout(g);
  return g;
}

const spline = (points) => {
  const p = points.map((q) => [q.x.toFixed(1), q.y.toFixed(1)]);
  if (p.length < 3) return `M${p.map((q) => q.join(",")).join("L")}`;
  let d = `M${p[0].join(",")}`;
  for (let i = 1; i < points.length - 1; i++) {
    const end = i === points.length - 2 ? points[i + 1]
      : { x: (points[i].x + points[i + 1].x) / 2, y: (points[i].y + points[i + 1].y) / 2 };
    d += `Q${p[i].join(",")} ${end.x.toFixed(1)},${end.y.toFixed(1)}`;
  }
  return d;
};

function drawGraph() {
  const g = layout();
  const { width, height } = g.graph();
  graph.width = width;
  graph.height = height;
  graph.nodes.clear();
  graph.edges = [];
  const frames = svg("g"), lines = svg("g"), marks = svg("g");
  g.nodes().map((key) => [key, g.node(key)]).filter(([, n]) => n.cluster)
    .sort((a, b) => a[1].cluster.length - b[1].cluster.length).forEach(([, n]) => frames.append(groupBox(n)));
  g.edges().forEach((e) => lines.append(edgeLine(g.edge(e), e)));
  g.nodes().forEach((key) => {
    const n = g.node(key);
    if (!n.cluster) marks.append(nodeMark(key, n));
  });
  graph.world.replaceChildren(frames, lines, marks);
}

const act = (action) => ({
  onclick: action,
  onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); action(); } },
});

function toggle(path) {
  const key = groupKey(path);
  if (graph.closed.has(key)) graph.closed.delete(key); else graph.closed.add(key);
  redraw();
  document.querySelector(`[data-group="${CSS.escape(path.join("/"))}"]`)?.focus({ preventScroll: true });
}

function groupBox(n) {
  const name = n.cluster.at(-1), kind = groups.get(groupKey(n.cluster)).kind;
  const x = n.x - n.width / 2 - 4, y = n.y - n.height / 2 - 8;
  const title = name === kind ? name : `${name}  ${kind}`;
  return svg("g", { class: "group" },
    svg("rect", { x, y, width: n.width + 8, height: n.height + 12, rx: 12 }),
    svg("g", { class: "toggle", role: "button", tabindex: 0, "aria-expanded": "true", "data-group": n.cluster.join("/"),
      "aria-label": `module ${n.cluster.join(".")}, ${kind}: close`, ...act(() => toggle(n.cluster)) },
      svg("rect", { x: x + 5, y: y - 9, width: textWidth(title, 12) + 28, height: 19, rx: 9.5 }),
      svg("text", { x: x + 13, y: y + 5 }, `▾ ${title}`)));
}

function nodeMark(key, n) {
  const at = svg("g", { transform: `translate(${(n.x - n.width / 2).toFixed(1)},${(n.y - n.height / 2).toFixed(1)})` });
  graph.nodes.set(key, { node: at, x: n.x, y: n.y });
  const middle = { x: n.width / 2, "text-anchor": "middle" };
  if (n.op !== undefined) {
    const op = DATA.ops[n.op];
    at.setAttribute("class", `op${op.recorded ? "" : " unrecorded"}`);
    at.setAttribute("data-op", n.op);
    at.addEventListener("click", () => goToOp(n.op));
    const sign = SIGNS[op.name];
    at.append(svg("rect", { width: n.width, height: n.height, rx: 10 }),
      svg("title", {}, [...op.group, op.name].join(" › ")),
      sign ? svg("text", { x: 19, y: 25, "text-anchor": "middle", class: "opsign" }, sign) : "",
      svg("text", { ...middle, x: n.width / 2 + (sign ? 12 : 0), y: 24 }, op.name));
  } else if (n.closed) {
    const label = n.closed.at(-1), kind = groups.get(groupKey(n.closed)).kind, count = opsIn(n.closed).length;
    at.setAttribute("class", `op module${opsIn(n.closed).some((i) => DATA.ops[i].recorded) ? "" : " unrecorded"}`);
    for (const [name, given] of Object.entries({ role: "button", tabindex: 0, "aria-expanded": "false", "data-group": n.closed.join("/"), "aria-label": `module ${n.closed.join(".")}, ${kind}, ${count} ops: open` })) at.setAttribute(name, given);
    const does = act(() => toggle(n.closed));
    at.addEventListener("click", does.onclick);
    at.addEventListener("keydown", does.onkeydown);
    at.append(svg("rect", { x: 4, y: 4, width: n.width, height: n.height, rx: 12, class: "shade" }),
      svg("rect", { width: n.width, height: n.height, rx: 12 }),
      svg("text", { ...middle, y: 22 }, `▸ ${label}`), svg("text", { ...middle, y: 40, class: "small" }, `${kind} · ${count} op${count > 1 ? "s" : ""}`));
  } else {
    const v = DATA.values[n.leaf];
    at.setAttribute("class", `leaf ${v.kind}`);
    at.setAttribute("data-value-number", n.leaf);
    at.append(svg("title", {}, `${v.name}: ${KIND_WORDS[v.kind] ?? "the result"}, ${shapeText(v.shape)}`),
      svg("rect", { width: n.width, height: n.height, rx: v.kind === "data" ? 3 : 14 }),
      svg("text", { ...middle, y: 19 }, n.text ?? (v.kind === "frozen" ? `❄ ${leafName(v)}` : leafName(v))));
  }
  return at;
}

function edgeLine(e, ends) {
  const v = DATA.values[e.value];
  const line = svg("g", { class: `edge${e.detached ? " detached" : ""}`, "data-edge": e.value },
    svg("path", { d: spline(e.points), class: "hit" }), svg("path", { d: spline(e.points), class: "line", "marker-end": "url(#arrow)" }),
    svg("title", {}, `${v.name}, ${shapeText(v.shape)}`));
  if (e.label) line.append(svg("text", { x: e.x, y: e.y + 4, "text-anchor": "middle" }, e.label));
  if (e.detached) line.append(svg("text", { x: e.x, y: e.y - 9, "text-anchor": "middle", class: "cut" }, "✂ detached"));
  graph.edges.push({ line, value: e.value, from: ends.v, to: ends.w });
  return line;
}

// ---- what is lit ---------------------------------------------------------------------------------

function light(state) {
  const at = state.op === null ? null : opNode(state.op);
  const openAll = (ops, done) => ops.every((i) => done.has(i));
  for (const [key, { node }] of graph.nodes) {
    let done = false, back = false;
    if (key.startsWith("o")) { const i = Number(key.slice(1)); done = state.forward.has(i); back = state.backward.has(i); }
    else if (key.startsWith("g")) {
      const ops = opsIn(key.slice(1).split("\u0000"));
      done = openAll(ops, state.forward);
      const recorded = ops.filter((i) => state.everBackward.has(i));
      back = recorded.length > 0 && openAll(recorded, state.backward);
    } else {
      const n = key === "end" ? DATA.goal : Number(key.slice(1));
      done = key === "end" ? state.forward.has(DATA.values[n].maker) : DATA.values[n].uses.some((i) => state.forward.has(i));
      back = state.gradients.has(n);
    }
    node.classList.toggle("done", done);
    node.classList.toggle("back", back);
    node.classList.toggle("now", key === at);
    node.classList.toggle("moved", state.phase === "optimizer" && node.classList.contains("parameter"));
    if (key === at) node.setAttribute("aria-current", "step"); else node.removeAttribute("aria-current");
  }
  graph.view.dataset.phase = state.phase;
  for (const edge of graph.edges) {
    const v = DATA.values[edge.value];
    const back = edge.to === "end" ? state.backward.size > 0 : state.gradients.has(edge.value) && v.uses.some((i) => state.backward.has(i) && opNode(i) === edge.to);
    edge.line.classList.toggle("done", v.maker === null ? v.uses.some((i) => state.forward.has(i)) : state.forward.has(v.maker));
    edge.line.classList.toggle("back", back);
    const part = state.op !== null && edge.to === at && state.moving.has(edge.value);
    edge.line.classList.toggle("now", part);
    edge.line.querySelector(".line").setAttribute("marker-end", back ? "" : part ? "url(#arrow-now)" : "url(#arrow)");
    edge.line.querySelector(".line").setAttribute("marker-start", back ? "url(#arrow-back)" : "");
  }
}

// ---- moving and zooming --------------------------------------------------------------------------

function moveTo(scale, left, top, smooth) {
  graph.scale = Math.min(2.5, Math.max(0.08, scale));
  graph.left = left;
  graph.top = top;
  graph.world.classList.toggle("smooth", smooth);
  graph.world.style.transform = `translate(${left}px, ${top}px) scale(${graph.scale})`;
}

function fit() {
  const { clientWidth: w, clientHeight: h } = graph.view;
  const scale = Math.min(1.25, w / graph.width, h / graph.height);
  moveTo(scale, (w - graph.width * scale) / 2, (h - graph.height * scale) / 2, true);
}

function zoom(factor, x = graph.view.clientWidth / 2, y = graph.view.clientHeight / 2, smooth = true) {
  const scale = Math.min(2.5, Math.max(0.08, graph.scale * factor));
  const ratio = scale / graph.scale;
  moveTo(scale, x - (x - graph.left) * ratio, y - (y - graph.top) * ratio, smooth);
}

// bring the current op into the middle, at a size that can be read
function centre(i, smooth = true) {
  const found = i === null ? null : graph.nodes.get(opNode(i));
  if (!found) return fit();
  const { clientWidth: w, clientHeight: h } = graph.view;
  if (Math.min(w / graph.width, h / graph.height) >= 0.75) return fit();
  const scale = Math.min(1, Math.max(graph.scale, 0.8));
  // no emptiness beside the graph where the graph could be
  const within = (offset, room, size) => (size < room ? (room - size) / 2 : Math.min(0, Math.max(room - size, offset)));
  return moveTo(scale, within(w / 2 - found.x * scale, w, graph.width * scale), within(h / 2 - found.y * scale, h, graph.height * scale), smooth);
}

function startGraph() {
  const marker = (id) => svg("marker", { id, viewBox: "0 0 10 10", refX: id === "arrow-back" ? 1 : 9, refY: 5, markerWidth: 10, markerHeight: 10, markerUnits: "userSpaceOnUse", orient: "auto" },
    svg("path", { d: id === "arrow-back" ? "M10 0 L0 5 L10 10 z" : "M0 0 L10 5 L0 10 z", class: id }));
  graph.world = svg("g", { class: "world" });
  graph.view.append(svg("defs", {}, marker("arrow"), marker("arrow-now"), marker("arrow-back")), graph.world);
  closeWhatIsTooMuch();
  graph.view.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = graph.view.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey || !event.deltaX) zoom(Math.exp(-event.deltaY / 500), event.clientX - box.left, event.clientY - box.top, false);
    else moveTo(graph.scale, graph.left - event.deltaX, graph.top - event.deltaY, false);
  }, { passive: false });
  const pointers = new Map();
  graph.view.addEventListener("pointerdown", (event) => pointers.set(event.pointerId, event));
  addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (pointers.size === 1) {
      moveTo(graph.scale, graph.left + event.clientX - before.clientX, graph.top + event.clientY - before.clientY, false);
    } else {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
      const box = graph.view.getBoundingClientRect();
      if (apart(before) > 0) zoom(apart(event) / apart(before), (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top, false);
    }
    pointers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, (event) => pointers.delete(event.pointerId));
}
