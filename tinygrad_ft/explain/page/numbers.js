// Data of the page, and how its numbers are written.

const DATA = JSON.parse(document.getElementById("data").textContent);

const MINUS = "\u2212";

// 4 significant digits, with a real minus sign; what was not finite in JSON is text already
function short(x, digits = 4) {
  if (typeof x === "boolean") return x ? "true" : "false";
  if (typeof x === "string") return x.replace("-", MINUS).replace("inf", "∞").replace("nan", "NaN");
  if (x === 0) return "0";
  const size = Math.abs(x);
  let text;
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa, power] = x.toExponential(Math.max(digits - 2, 1)).split("e");
    text = `${Number(mantissa)}e${Number(power)}`;
  } else {
    text = String(Number(x.toPrecision(digits)));
  }
  return text.replaceAll("-", MINUS);
}

function value(x) {
  if (typeof x !== "string") return Number(x);
  return { inf: Infinity, "-inf": -Infinity }[x] ?? NaN;
}

function shapeText(shape) {
  return shape.length ? shape.join("×") : "scalar";
}

// an index into an array from its place in row-major order
function placeOf(flat, shape) {
  const place = [];
  for (let d = shape.length - 1; d >= 0; d--) {
    place.unshift(flat % shape[d]);
    flat = Math.floor(flat / shape[d]);
  }
  return place;
}

// element(tag, {attributes}, ...children); text is never read as markup
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, given] of Object.entries(attributes)) {
    if (given === null || given === undefined || given === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), given);
    else node.setAttribute(key, given === true ? "" : given);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, given] of Object.entries(attributes)) {
    if (given === null || given === undefined || given === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), given);
    else node.setAttribute(key, given);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function button(label, action, attributes = {}) {
  return element("button", { type: "button", onclick: action, ...attributes }, label);
}

// buttons of which one is pressed; `show(i)` fills what they choose
function choice(title, labels, show) {
  const target = element("div", { class: "chosen" });
  const buttons = labels.map((label, i) => button(label, () => choose(i), { class: "chip" }));
  function choose(i) {
    buttons.forEach((b, k) => b.setAttribute("aria-pressed", k === i));
    target.replaceChildren(...[show(i)].flat().filter(Boolean));
  }
  choose(0);
  const row = element("div", { class: "chips", role: "group", "aria-label": title },
    element("span", { class: "soft" }, title), buttons);
  return [labels.length > 1 ? row : null, target].filter(Boolean);
}
