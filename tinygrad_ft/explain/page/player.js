// The player: which step it is, what the panel says about it, and the controls.

const player = { at: 0, playing: null, follow: true, opened: [] };
const byId = (id) => document.getElementById(id);
const everBackward = new Set(DATA.steps.filter((s) => s.phase === "backward").map((s) => s.op));
const PHASES = { forward: "Forward", backward: "Backward", optimizer: "Optimiser" };

// what has been computed when step `at` is done
function stateAt(at) {
  const state = { forward: new Set(), backward: new Set(), gradients: new Set(), everBackward, op: DATA.steps[at].op, phase: DATA.steps[at].phase };
  DATA.steps.slice(0, at + 1).forEach((s) => {
    if (s.phase === "forward") state.forward.add(s.op);
    if (s.phase === "backward") {
      state.backward.add(s.op);
      s.outgoing.forEach((o) => { if (o.value !== undefined) state.gradients.add(o.value); });
    }
  });
  const now = DATA.steps[at];
  // the values that go into the op now, or whose gradients come out of it
  state.moving = new Set(now.phase === "forward" ? DATA.ops[now.op].inputs : now.phase === "backward" ? now.outgoing.map((o) => o.value) : []);
  return state;
}

// ---- the panel -----------------------------------------------------------------------------------

function formulas(op, backward) {
  if (op.formulas.length === 0) return element("p", { class: "soft" }, "This op's docstring states no formula.");
  const list = element("div", { class: "formulas" });
  op.formulas.forEach((f) => {
    const line = element("div", { class: f.gradient === backward ? "formula now" : "formula" });
    line.innerHTML = f.mathml;
    list.append(line);
  });
  return list;
}

function forwardPanel(op) {
  const inputs = op.inputs.map((n, i) => (n === null ? card(op.names[i], "absent or not kept", null, "data")
    : card(op.names[i], DATA.values[n].name, DATA.values[n].array, DATA.values[n].kind)));
  const outputs = op.outputs.map((n, i) => card(i === 0 ? "out" : `output ${i + 1}`, DATA.values[n].name, DATA.values[n].array, "result"));
  return [formulas(op, false), op.params ? element("p", { class: "soft params" }, op.params) : null,
    op.recorded ? null : element("p", { class: "remark" }, "Not recorded: no input of this op needs a gradient, so backward will not come here."),
    element("div", { class: "cards" }, inputs), element("h3", { class: "gives" }, "gives"), element("div", { class: "cards" }, outputs),
    specialView(op.view, op)];
}

function outgoingCard(op, o, i) {
  const name = `grad_${op.names[i]}`;
  if (o.why) return element("article", { class: "card none" }, element("h4", {}, element("code", {}, name), element("span", {}, "none")), element("p", { class: "soft" }, o.why));
  const v = DATA.values[o.value];
  const notes = [];
  if (o.of > 1) {
    const last = o.part === o.of;
    notes.push(element("div", { class: "accumulate" },
      element("p", {}, element("strong", {}, `${v.name} is used ${o.of} times. `), `This is part ${o.part} of ${o.of} of its gradient; ${o.part === 1 ? "the others will be added to it." : last ? "with it the sum is complete:" : "the sum so far:"}`),
      o.part > 1 ? arrayBody(DATA.arrays[o.sum], `gradient of ${v.name}, sum of ${o.part} parts`) : null));
  }
  if (o.part === o.of) {
    const table = checkTable(o.value, v.name);
    if (table) notes.push(table);
  }
  return card(name, v.maker === null ? `${v.name}, ${v.kind}` : `of ${v.name}`, o.array, `gradient ${v.kind}`, notes.flat().filter(Boolean));
}

function backwardPanel(op, step) {
  const incoming = step.incoming.map((index, i) => (index === null ? null
    : card(i === 0 ? "grad_out" : `grad of output ${i + 1}`, `of ${DATA.values[op.outputs[i]].name}`, index, "gradient")));
  return [formulas(op, true), element("div", { class: "cards" }, incoming.filter(Boolean)),
    element("h3", { class: "gives" }, "hands back"),
    element("div", { class: "cards" }, step.outgoing.map((o, i) => outgoingCard(op, o, i))),
    specialView(step.view, op)];
}

function optimizerPanel(step) {
  const still = step.updates.filter((u) => u.gradient === null);
  const rows = step.updates.filter((u) => u.gradient !== null).map((u, i) => {
    const [before, gradient, after] = [u.before, u.gradient, u.after].map((index) => DATA.arrays[index]);
    const cells = [["before", u.before], ["gradient", u.gradient], ["after", u.after]];
    return element("details", { class: "update", open: i < 3 },
      element("summary", {}, element("code", {}, u.name), ` ${shapeText(before.shape)} · moved by ${short(u.moved)} (norm)`, exampleOf(before, gradient, after)),
      element("div", { class: "cards three" }, cells.map(([role, index]) => card(role, "", index, role === "gradient" ? "gradient" : "parameter"))));
  });
  return [step.formula ? element("pre", {}, step.formula) : null, element("p", { class: "soft params" }, step.options.join(", ")), ...rows,
    still.length ? element("details", { class: "update" },
      element("summary", {}, `${still.length} parameters have no gradient and stay as they are`),
      element("p", { class: "soft" }, still.map((u) => u.name).join(", "))) : null];
}

function exampleOf(before, gradient, after) {
  if (!gradient.numbers) return null;
  return element("span", { class: "soft" }, ` · first element ${short(before.numbers[0])} → ${short(after.numbers[0], 5)}`);
}

function notesFor(step) {
  const op = step.op === null ? null : DATA.ops[step.op];
  const mine = DATA.notes.filter((n) => op && (n.op === step.op || (n.value !== null && op.inputs.includes(n.value))));
  return mine.map((n) => element("p", { class: `note ${n.kind}`, role: "note" }, n.text));
}

function showPanel() {
  const step = DATA.steps[player.at];
  const op = step.op === null ? null : DATA.ops[step.op];
  const where = op && op.group.length ? op.group.join(" › ") : "";
  const head = element("div", { class: "head" },
    element("span", { class: `phase ${step.phase}` }, PHASES[step.phase]),
    element("h2", { tabindex: -1, id: "step-title" }, op ? op.name : step.name),
    where ? element("span", { class: "soft where" }, where) : null);
  const body = step.phase === "forward" ? forwardPanel(op) : step.phase === "backward" ? backwardPanel(op, step) : optimizerPanel(step);
  const panel = byId("step");
  panel.replaceChildren(head, ...notesFor(step), ...body.flat(3).filter(Boolean));
  panel.scrollTop = 0;
}

function spoken() {
  const step = DATA.steps[player.at];
  const op = step.op === null ? null : DATA.ops[step.op];
  const what = op ? `${op.name}${op.group.length ? ` in ${op.group.join(" ")}` : ""}, gives ${op.outputs.slice(0, 1).map((n) => shapeText(DATA.values[n].shape).replaceAll("×", " by ")).join()}` : step.name;
  return `Step ${player.at + 1} of ${DATA.steps.length}, ${PHASES[step.phase]}: ${what}`;
}

// ---- stepping ------------------------------------------------------------------------------------

// with "follow", the modules around the current op are opened while it is there
function followIn() {
  const step = DATA.steps[player.at];
  const wanted = player.follow && step.op !== null ? prefixes(boxOf(DATA.ops[step.op].group)).map(groupKey) : [];
  const keep = new Set(wanted);
  let changed = false;
  player.opened = player.opened.filter((key) => {
    if (keep.has(key)) return true;
    graph.closed.add(key);
    changed = true;
    return false;
  });
  wanted.forEach((key) => {
    if (graph.closed.delete(key)) { player.opened.push(key); changed = true; }
  });
  return changed;
}

function redraw(smooth = false) {
  drawGraph();
  light(stateAt(player.at));
  centre(DATA.steps[player.at].op, smooth);
}

function show(at, quiet = false) {
  player.at = Math.max(0, Math.min(DATA.steps.length - 1, at));
  if (followIn()) drawGraph();
  light(stateAt(player.at));
  centre(DATA.steps[player.at].op);
  showPanel();
  const step = DATA.steps[player.at];
  const same = DATA.steps.filter((s) => s.phase === step.phase);
  byId("scrubber").value = player.at;
  byId("scrubber").setAttribute("aria-valuetext", spoken());
  byId("count").textContent = same.length > 1 ? `${PHASES[step.phase]} ${same.indexOf(step) + 1} of ${same.length}` : PHASES[step.phase];
  byId("first").disabled = byId("back").disabled = player.at === 0;
  byId("last").disabled = byId("next").disabled = player.at === DATA.steps.length - 1;
  document.querySelectorAll("#steps button[data-step]").forEach((b) => {
    if (Number(b.dataset.step) === player.at) b.setAttribute("aria-current", "step"); else b.removeAttribute("aria-current");
  });
  document.body.dataset.step = player.at;
  if (!quiet) byId("spoken").textContent = spoken();
  history.replaceState(null, "", `#${player.at + 1}`);
}

function goToOp(i) {
  stop();
  const phase = DATA.steps[player.at].phase;
  const found = DATA.steps.findIndex((s) => s.op === i && s.phase === phase);
  show(found >= 0 ? found : DATA.steps.findIndex((s) => s.op === i));
  choosePane("step");
}

function stop() {
  clearInterval(player.playing);
  player.playing = null;
  byId("play").firstElementChild.firstElementChild.setAttribute("d", "M4 2v12l9-6z");
  byId("play").setAttribute("aria-label", "Play");
}

function play() {
  if (player.playing) return stop();
  if (player.at === DATA.steps.length - 1) show(0);
  byId("play").firstElementChild.firstElementChild.setAttribute("d", "M3 2h4v12H3zM9 2h4v12H9z");
  byId("play").setAttribute("aria-label", "Pause");
  player.playing = setInterval(() => {
    if (player.at === DATA.steps.length - 1) stop(); else show(player.at + 1);
  }, 1400);
}

function step(by) { stop(); show(player.at + by); }

// ---- panes ---------------------------------------------------------------------------------------

function choosePane(name) {
  document.querySelectorAll("[role=tab]").forEach((tab) => {
    const chosen = tab.dataset.pane === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.dataset.pane).hidden = !chosen;
  });
}

function fillNotes() {
  const list = DATA.notes.map((n) => element("li", { class: `note ${n.kind}` }, n.text, n.op !== null
    ? button("show", () => { show(DATA.steps.findIndex((s) => s.op === n.op)); choosePane("step"); }, { class: "chip" }) : null));
  const facts = [DATA.complete ? null : "This graph was computed without recording: numbers that backward does not need were not kept, and are missing here.",
    DATA.unchecked || null].filter(Boolean).map((text) => element("p", { class: "remark" }, text));
  byId("notes").replaceChildren(...facts, list.length ? element("ul", { class: "plain" }, list)
    : element("p", { class: "soft" }, "Nothing to warn about: no dead units, no vanishing gradients, no parameter left out."), ...flowChart());
  byId("notes-count").textContent = DATA.notes.length || "";
}

// the gradients' sizes along the depth, on a logarithmic scale
function flowChart() {
  if (DATA.flow.length < 2) return [];
  const sizes = DATA.flow.map((f) => value(f.gradient)).filter((x) => x > 0);
  const high = Math.ceil(Math.log10(Math.max(...sizes))), low = Math.min(high - 2, Math.floor(Math.log10(Math.min(...sizes))));
  const share = (x) => (x > 0 ? Math.max(0.01, (Math.log10(x) - low) / (high - low)) : 0);
  const rows = DATA.flow.map((f) => element("tr", {}, element("th", { scope: "row" }, element("code", {}, f.name)),
    element("td", { "data-value": f.gradient }, element("span", { class: "bar plus", style: `--share:${share(value(f.gradient))}`, "aria-hidden": "true" }), short(f.gradient, 3))));
  return [element("h3", {}, "Gradients along the depth"),
    element("p", { class: "soft" }, `Root mean square of each weight's gradient, first layer first; the scale is logarithmic, from ${short(10 ** low)} to ${short(10 ** high)}.`),
    element("div", { class: "scroll" }, element("table", { class: "checks bars flow" }, element("tbody", {}, rows)))];
}

function fillSteps() {
  let last = null;
  const items = [];
  DATA.steps.forEach((s, i) => {
    if (s.phase !== last) items.push(element("li", { class: "divider" }, PHASES[s.phase]));
    last = s.phase;
    const op = s.op === null ? null : DATA.ops[s.op];
    items.push(element("li", {}, button(element("span", {}, element("span", { class: "soft" }, `${i + 1} `), op ? op.name : s.name,
      op && op.group.length ? element("span", { class: "soft" }, ` ${op.group.join(" › ")}`) : null), () => { stop(); show(i); choosePane("step"); }, { "data-step": i, class: `listed ${s.phase}` })));
  });
  byId("steps").replaceChildren(element("ol", { class: "plain" }, items));
}

// ---- begin ---------------------------------------------------------------------------------------

function begin() {
  const count = (phase) => DATA.steps.filter((s) => s.phase === phase).length;
  const scrubber = byId("scrubber");
  scrubber.max = DATA.steps.length - 1;
  const turn = [count("forward"), count("forward") + count("backward")].map((n) => `${(100 * n) / DATA.steps.length}%`);
  scrubber.style.setProperty("--turn", turn[0]);
  scrubber.style.setProperty("--end", turn[1]);
  scrubber.addEventListener("input", () => { stop(); show(Number(scrubber.value)); });
  byId("first").onclick = () => step(-1e9);
  byId("back").onclick = () => step(-1);
  byId("next").onclick = () => step(1);
  byId("last").onclick = () => step(1e9);
  byId("play").onclick = play;
  byId("turn").onclick = () => { stop(); show(count("forward")); };
  byId("fit").onclick = fit;
  byId("closer").onclick = () => zoom(1.3);
  byId("farther").onclick = () => zoom(1 / 1.3);
  byId("open-all").onclick = () => { graph.closed.clear(); player.opened = []; redraw(); };
  byId("close-all").onclick = () => { boxes.forEach((g) => graph.closed.add(groupKey(g.path))); player.opened = []; followOff(); redraw(); };
  byId("follow").onchange = (event) => { player.follow = event.target.checked; show(player.at, true); };
  byId("modules").hidden = boxes.length === 0;
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, [role=tab], summary")) return;
    const press = event.target.closest("button, [role=button]");
    const action = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => step(-1e9), End: () => step(1e9),
      b: () => { stop(); show(count("forward")); }, f: () => step(-1e9), " ": press ? null : play }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, i) => {
    tab.onclick = () => choosePane(tab.dataset.pane);
    tab.onkeydown = (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) { const to = tabs[(i + by + tabs.length) % tabs.length]; choosePane(to.dataset.pane); to.focus(); }
    };
  });
  byId("loss").textContent = short(DATA.loss, 6);
  byId("loss").dataset.value = DATA.loss;
  startGraph();
  fillNotes();
  fillSteps();
  choosePane("step");
  drawGraph();
  const asked = Number(location.hash.slice(1));
  show(Number.isInteger(asked) && asked > 0 ? asked - 1 : 0, true);
  let waiting = null;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { redraw(); showPanel(); }, 150); });
  document.body.dataset.ready = "yes";
}

function followOff() { player.follow = false; byId("follow").checked = false; }

begin();
