// Cards: one array each, as numbers or as a picture, with its name, shape and statistics.

const panelWidth = () => Math.max(220, Math.min(430, document.getElementById("step").clientWidth - 70));

function statistics(a) {
  if (a.norm === undefined) return null;
  const parts = [["min", a.min], ["mean", a.mean], ["max", a.max], ["norm", a.norm]];
  if (a.zeros && a.zeros >= 0.005) parts.push(["zeros", `${Math.round(a.zeros * 100)}%`]);
  if (a.odd) parts.push(["not finite", a.odd]);
  return element("dl", { class: "stats" }, parts.map(([name, x]) =>
    element("div", {}, element("dt", {}, name),
      element("dd", typeof x === "number" ? { "data-value": x, "data-stat": name } : {}, typeof x === "number" ? short(x) : x))));
}

function readable(a) {
  const wide = a.shape.length > 1 ? a.shape.at(-1) : 1;
  return a.numbers && !a.picture && wide <= 10;
}

// what an array looks like, in the card or anywhere else
function arrayBody(a, label) {
  if (a.numbers && a.numbers.length === 0) return [element("p", { class: "soft" }, "empty")];
  if (a.numbers && a.numbers.length === 1) {
    return [element("p", { class: "scalar", "data-value": a.numbers[0] }, short(a.numbers[0], 7))];
  }
  const parts = [];
  if (a.picture) {
    const one = a.picture.tiles === 1 || a.picture.image === "colour";
    const width = one && a.picture.width < 3 * a.picture.height ? Math.min(190, panelWidth()) : panelWidth();
    parts.push(element("div", { class: "look" },
      element("figure", {}, drawTiles(a.picture, `${label}: ${a.picture.shown}`, { width }),
        element("figcaption", { class: "soft" }, a.picture.shown)),
      a.histogram ? histogramOf(a.histogram, label) : null));
  }
  if (a.numbers) {
    const wide = a.shape.length > 1 && a.shape.at(-1) > 5;
    const table = numberTable(a.numbers, a.shape, label, undefined, wide ? 3 : 4);
    const folded = a.picture || !readable(a);
    parts.push(folded
      ? element("details", {}, element("summary", {}, `all ${a.numbers.length} numbers`), table)
      : table);
  }
  if (!readable(a) || a.numbers.length > 8) parts.push(statistics(a));
  return parts;
}

// role: what the array is to the op; kind colours the card's edge
function card(role, name, index, kind, notes = []) {
  const a = index === null || index === undefined ? null : DATA.arrays[index];
  const head = element("h4", {}, role ? element("code", {}, role) : null, name ? element("span", {}, name) : null,
    a ? element("span", { class: "shape" }, shapeText(a.shape)) : null);
  const body = a ? arrayBody(a, `${role ?? ""} ${name ?? ""}`.trim())
    : [element("p", { class: "soft" }, "The graph does not keep these numbers, because no gradient needs them.")];
  const few = a && a.numbers && a.numbers.length <= 16 && (a.shape.at(-1) ?? 1) <= 3 && !notes.length;
  return element("article", { class: `card ${kind}${a && !few ? " wide" : ""}`, "data-array": index }, head, body, notes);
}

function checkTable(number, name) {
  const checks = DATA.checks[number];
  if (!checks || checks.length === 0) return null;
  const rows = checks.map((c) => element("tr", {},
    element("th", { scope: "row" }, element("code", {}, `${name}[${c.element.join(", ")}]`.replace("[]", ""))),
    element("td", { "data-value": c.backprop }, short(c.backprop, 6)),
    element("td", { "data-value": c.difference }, short(c.difference, 6)),
    element("td", { "data-value": c.apart }, c.corner ? "corner" : short(c.apart, 2))));
  return element("div", { class: "scroll" }, element("table", { class: "checks" },
    element("caption", {}, "Proof: move one number a little, run forward again in float64, divide"),
    element("thead", {}, element("tr", {}, ["element", "backprop", "finite difference", "apart"].map((h) =>
      element("th", { scope: "col" }, h)))),
    element("tbody", {}, rows)),
  checks.some((c) => c.corner) ? element("p", { class: "soft" }, "Corner: the slopes to its left and right differ (a ReLU at 0, a tie of maxima). There is no derivative; backprop takes that of one side.") : null);
}
