// Views of single ops: window and products, row times column, masks, distributions, p - y.

function term(a, b) {
  const bracket = (x) => (value(x) < 0 ? `(${short(x, 3)})` : short(x, 3));
  return `${bracket(a)} · ${bracket(b)}`;
}

function heading(text, note) {
  return [element("h3", {}, text), note ? element("p", { class: "soft" }, note) : null];
}

function captioned(node, text) {
  return element("figure", {}, node, element("figcaption", {}, text));
}

// small tables a, b and a * b in a row with their sum
function products(table, names) {
  const shape = [table.rows, table.a.length / table.rows];
  const product = table.a.map((x, i) => value(x) * value(table.b[i]));
  const small = table.a.length <= 25;
  const draw = (data, label) => (small ? numberTable(data, shape, label, () => ({}), 3)
    : drawTiles(pictureOf(data, shape), label, { width: 110 }));
  return element("div", { class: "equation" },
    captioned(draw(table.a, names[0]), names[0]), element("span", { class: "sign" }, "⊙"),
    captioned(draw(table.b, names[1]), names[1]), element("span", { class: "sign" }, "="),
    captioned(draw(product, "products"), "products"), summed(table.sum));
}

function summed(x) {
  return element("span", { class: "total" }, element("span", { class: "sign" }, "∑ "),
    element("span", { class: "sum", "data-value": x }, short(x)));
}

// numbers of the page itself as a picture
function pictureOf(data, shape) {
  const largest = Math.max(...data.map((x) => Math.abs(value(x))).filter(Number.isFinite), 0) || 1;
  const bytes = data.map((x) => (Number.isFinite(value(x)) ? Math.round((value(x) / largest) * 127) + 127 : 255));
  return { tiles: 1, height: shape[0], width: shape[1], scale: largest, image: "",
    data: btoa(String.fromCharCode(...bytes)) };
}

function sumLine(probe, left, key = "value") {
  const parts = probe.tables.map((t) => short(t.sum));
  if (probe.others > 0) parts.push(`${short(probe.rest)} (${probe.others} more)`);
  return element("p", { class: "sumline" }, `${left} = `, parts.length > 1 ? `${parts.join(" + ")} = ` : "",
    element("strong", { "data-value": probe[key] }, short(probe[key], 6)));
}

// one tile of an array's picture with a box, if the picture holds that tile at full size
function boxed(index, tile, box, label) {
  const picture = index === null ? null : DATA.arrays[index]?.picture;
  const shape = picture ? DATA.arrays[index].shape : null;
  if (!picture || picture.height !== shape[2] || picture.width !== shape[3]) return null;
  const wanted = picture.image === "grey" ? 0 : tile;
  if (wanted >= picture.tiles || (picture.image !== "grey" && !/^channels/.test(picture.shown) && picture.image !== "colour")) return null;
  return captioned(drawTiles(picture, label, { width: 170, only: picture.image === "colour" ? 0 : wanted, marks: [box] }), label);
}

function convView(view, op) {
  const labels = view.probes.map((p) => `y[${p.place.join(", ")}]`);
  return [heading("The window over the image", "Each output is a sum of products: the window's pixels times the filter."),
    choice("output", labels, (i) => {
      const p = view.probes[i];
      const [, o, y, x] = p.place;
      const first = p.tables[0].channel;
      return [
        element("div", { class: "equation" },
          boxed(DATA.values[op.inputs[0]].array, first, p.window, `x, channel ${first}`), element("span", { class: "sign" }, "→"),
          boxed(DATA.values[op.outputs[0]].array, o, [y, x, 1, 1], `y, channel ${o}`)),
        ...p.tables.map((t) => products(t, [`window of x, channel ${t.channel}`, `w[${o}, ${t.channel}]`])),
        sumLine(p, labels[i]),
      ];
    })];
}

function convBackView(view) {
  const parts = [];
  if (view.weight) {
    const w = view.weight;
    const place = w.place.join(", ");
    const [g, x, product] = w.pictures;
    const rest = w.images > 1 ? ` in image 1, and over all ${w.images} images ` : " ";
    parts.push(heading("Every output that one weight touched",
      `w[${place}] was used once at each of the ${w.places} places of the window. Its gradient adds up all of them: the whole output gradient times the image, shifted.`));
    parts.push(element("div", { class: "equation" },
      captioned(drawTiles(g, "grad_y", { width: 110 }), `grad_y, channel ${w.place[0]}`), element("span", { class: "sign" }, "⊙"),
      captioned(drawTiles(x, "x", { width: 110 }), `x, channel ${w.channel}, shifted`), element("span", { class: "sign" }, "="),
      captioned(drawTiles(product, "products", { width: 110 }), "products"), summed(w.first)));
    parts.push(element("p", { class: "sumline" }, `grad_w[${place}] = `, w.images > 1 ? `${short(w.first)}${rest}= ` : "",
      element("strong", { "data-value": w.value }, short(w.value, 6))));
  }
  if (view.pixel) {
    const p = view.pixel;
    const place = p.place.join(", ");
    parts.push(heading("Every output that one pixel touched",
      `x[${place}] was seen by ${p.touched.length} windows of each filter. The outputs hand their gradients back through the weights that saw it.`));
    parts.push(p.tables.map((t) => products(t, [`grad_y, channel ${t.channel}`, `w[${t.channel}, ${p.place[1]}]`])));
    parts.push(sumLine(p, `grad_x[${place}]`));
  }
  return parts;
}

function matmulView(view) {
  return view.products.map((p) => [heading("Row times column", p.title.replaceAll("^T", "ᵀ")),
    p.whole ? wholeProduct(p) : probedProduct(p)]);
}

function productLine(p, place, row, column, others, rest, shown) {
  const terms = row.map((x, k) => term(x, column[k]));
  const tail = others ? ` + ${short(rest)} (${others} more)` : "";
  return element("p", { class: "sumline" }, `${p.names[2]}[${place.join(", ")}] = ${terms.join(" + ")}${tail} = `,
    element("strong", { "data-value": shown }, short(shown, 6)));
}

function wholeProduct(p) {
  const [a, b, out] = p.whole;
  const holder = element("div");
  const show = (i, j) => {
    const inner = a.shape[1], columns = out.shape[1];
    const table = (m, name, look) => captioned(numberTable(m.numbers, m.shape, name, look, 3), name.replace("^T", "ᵀ"));
    const row = a.numbers.slice(i * inner, (i + 1) * inner);
    const column = [...Array(inner).keys()].map((k) => b.numbers[k * columns + j]);
    const focused = holder.contains(document.activeElement);
    holder.replaceChildren(
      element("div", { class: "equation" },
        table(a, p.names[0], (f) => ({ class: Math.floor(f / inner) === i ? "lit" : "dim" })), element("span", { class: "sign" }, "@"),
        table(b, p.names[1], (f) => ({ class: f % columns === j ? "lit" : "dim" })), element("span", { class: "sign" }, "="),
        table(out, p.names[2], (f) => ({
          class: f === i * columns + j ? "lit" : "",
          label: p.names[2],
          action: () => show(Math.floor(f / columns), f % columns),
        }))),
      productLine(p, [i, j], row, column, 0, 0, out.numbers[i * columns + j]));
    if (focused) holder.querySelector(".lit .cell")?.focus();
  };
  show(...p.probes[0].place);
  return [element("p", { class: "soft" }, "Choose an element of the result."), holder];
}

function probedProduct(p) {
  return choice("element", p.probes.map((probe) => `${p.names[2].replace("^T", "ᵀ")}[${probe.place.join(", ")}]`), (i) => {
    const probe = p.probes[i];
    return [
      probe.others ? element("p", { class: "soft" }, `the ${probe.at.length} largest of ${p.inner} products`) : null,
      numberTable([...probe.row, ...probe.column], [2, probe.row.length], "row and column"),
      productLine(p, probe.place, probe.row, probe.column, probe.others, probe.rest, probe.value),
    ];
  });
}

function batchNormView(view) {
  return [heading("Before and after", `Each channel over all ${view.count} of its values, at its own mean and width; then to mean 0 and width 1; then times weight, plus bias.`),
    choice("channel", view.channels.map((c) => String(c.channel)), (i) => {
      const c = view.channels[i];
      const range = [Math.min(c.before.low, c.after.low), Math.max(c.before.high, c.after.high)];
      return [element("div", { class: "equation" },
        captioned(histogramOf(c.before, "before", 220, 60, range), "x"), element("span", { class: "sign" }, "→"),
        captioned(histogramOf(c.after, "after", 220, 60, range), "out")),
      element("p", { class: "sumline" },
        `(x ${value(c.mean) < 0 ? "+" : MINUS} ${short(Math.abs(value(c.mean)))}) / ${short(c.std)} · ${short(c.weight)} ${value(c.bias) < 0 ? MINUS : "+"} ${short(Math.abs(value(c.bias)))}`)];
    })];
}

function reluView(view) {
  const share = Math.round((100 * view.passing) / view.of);
  return [heading("The mask", `${view.passing} of ${view.of} elements pass (${share}%). In backward the same ones let the gradient through; the others stop it.`),
    element("div", { class: "equation" },
      captioned(drawTiles(view.mask, "mask: what passes", { width: panelWidth() * (view.xs ? 0.55 : 1) }), "orange passes"),
      view.xs ? captioned(curveOf(view, "the function, with this array's elements on it"), "the elements on the function") : null)];
}

function curveView(view) {
  const every = view.every > 1 ? `, every ${view.every}th` : "";
  return [heading("The function", `The array's elements on it${every}. The slope at each is what backward multiplies with.`),
    curveOf(view, "the function, with this array's elements on it")];
}

function softmaxView(view) {
  const rows = view.rows.map((_, i) => `row ${i}`);
  return [heading("Probability minus truth", "p is what the network believes, y what is true. The gradient of the scores is their difference, times the row's share of the loss."),
    choice(`of ${view.all}`, rows, (i) => {
      const r = view.rows[i];
      const bar = (x) => element("span", { class: `bar ${value(x) < 0 ? "minus" : "plus"}`, style: `--share:${Math.min(1, Math.abs(value(x)))}`, "aria-hidden": "true" });
      const body = r.p.map((p, c) => {
        const apart = value(p) - value(r.y[c]);
        return element("tr", {}, element("th", { scope: "row" }, String(c)),
          element("td", { "data-value": p }, bar(p), short(p, 3)), element("td", { "data-value": r.y[c] }, bar(r.y[c]), short(r.y[c], 3)),
          element("td", { "data-value": apart }, bar(apart), short(apart, 3)),
          element("td", { "data-value": r.gradient[c] }, short(r.gradient[c], 3)));
      });
      return element("div", { class: "scroll" }, element("table", { class: "checks bars" },
        element("thead", {}, element("tr", {}, ["class", "p", "y", `p ${MINUS} y`, `gradient = ${short(r.weight, 3)} · (p ${MINUS} y)`].map((h) => element("th", { scope: "col" }, h)))),
        element("tbody", {}, body)));
    })];
}

function specialView(view, op) {
  if (!view) return null;
  const make = { conv: convView, "conv-back": convBackView, matmul: matmulView, "batch-norm": batchNormView,
    relu: reluView, curve: curveView, softmax: softmaxView }[view.kind];
  return element("section", { class: `view ${view.kind}` }, [make(view, op)].flat(4).filter(Boolean));
}
