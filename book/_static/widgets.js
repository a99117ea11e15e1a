/* Brings the widgets of a page to life. Python has put into each a still and, as JSON, facts
   (organelle_fusion.widgets); here are the parts that all kinds share. The kinds themselves stand in
   widgets_images.js and widgets_scores.js. Without this script the stills remain. */

"use strict";

const pageWidgets = (() => {
  const kinds = {};
  let controlsMade = 0;

  /* --- elements: texts go in as text, never as HTML --- */

  function set(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }
  const element = (tag, attributes = {}, ...children) =>
    set(document.createElement(tag), attributes, children);
  const drawn = (tag, attributes = {}, ...children) =>
    set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  /* --- controls --- */

  function slider(place, { label, min = 0, max, step = 1, value, say }, act) {
    const id = `widget-control-${++controlsMade}`;
    const input = element("input", { type: "range", id, min, max, step, value });
    const shown = element("output", { for: id, "aria-live": "off" });
    const update = () => {
      const text = say(Number(input.value));
      shown.textContent = text;
      input.setAttribute("aria-valuetext", text);
      act(Number(input.value));
    };
    input.addEventListener("input", update);
    place.append(
      element("div", { class: "widget-control" }, element("label", { for: id }, label), input, shown),
    );
    return update;
  }

  /* One of several, by its number; where there is one only, there is nothing to choose. */
  function choice(place, { label, options, value = 0 }, act) {
    if (options.length < 2) return;
    const id = `widget-control-${++controlsMade}`;
    const input = element("select", { id });
    options.forEach((text, k) =>
      input.append(element("option", { value: k, selected: k === value }, text)),
    );
    input.addEventListener("change", () => act(Number(input.value)));
    place.append(
      element("div", { class: "widget-control" }, element("label", { for: id }, label), input),
    );
  }

  /* Boxes to tick (checkbox), or one of few in sight (radio); options are texts or elements. */
  function ticks(place, { legend, type, options, checked }, act) {
    const name = `widget-control-${++controlsMade}`;
    const fieldset = element("fieldset", { class: "widget-control" }, element("legend", {}, legend));
    options.forEach((option, k) => {
      const input = element("input", { type, name, value: k, checked: checked(k) });
      input.addEventListener("change", () => act(k, input.checked));
      fieldset.append(element("label", {}, input, option));
    });
    place.append(fieldset);
  }

  /* --- pictures --- */

  function rgb(color) {
    return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  }

  /* The numbers of a grey picture, 0 to 255, each picture decoded once. */
  const decoded = new Map();
  function greys(address) {
    if (!decoded.has(address)) {
      decoded.set(
        address,
        new Promise((resolve, reject) => {
          const image = new Image();
          image.onerror = () => reject(new Error("a picture of a widget cannot be decoded"));
          image.onload = () => {
            const canvas = element("canvas", { width: image.width, height: image.height });
            const context = canvas.getContext("2d", { willReadFrequently: true });
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, image.width, image.height);
            resolve(Uint8Array.from({ length: data.length / 4 }, (_, k) => data[4 * k]));
          };
          image.src = address;
        }),
      );
    }
    return decoded.get(address);
  }

  /* A canvas in place of the still, under the same scale bar. */
  function canvasFor(stage, { width, height }) {
    const canvas = element("canvas", { width, height, role: "img" });
    stage.querySelector(".widget-picture > img").replaceWith(canvas);
    return canvas;
  }

  /* Lay channels over each other, their colours added as light; `strength` maps 0..255 to 0..1. */
  function paint(context, channels, colors, on, strength) {
    const { width, height } = context.canvas;
    const picture = context.createImageData(width, height);
    for (let k = 3; k < picture.data.length; k += 4) picture.data[k] = 255;
    const table = Float32Array.from({ length: 256 }, (_, value) => 255 * strength(value));
    const sum = new Float32Array(3 * width * height);
    channels.forEach((values, c) => {
      if (!on[c]) return;
      const [red, green, blue] = rgb(colors[c].color);
      for (let k = 0; k < values.length; k++) {
        const light = table[values[k]];
        sum[3 * k] += light * red;
        sum[3 * k + 1] += light * green;
        sum[3 * k + 2] += light * blue;
      }
    });
    for (let k = 0; k < width * height; k++) {
      for (let c = 0; c < 3; c++) picture.data[4 * k + c] = sum[3 * k + c]; // clamped to 255
    }
    context.putImageData(picture, 0, 0);
  }

  /* Words with a square of the colour that they stand for. */
  function swatch(color, text) {
    const mark = element("span", { class: "widget-swatch", "aria-hidden": "true" });
    mark.style.backgroundColor = color;
    return element("span", {}, mark, text);
  }

  /* --- plots --- */

  /* Axes of a plot of 0..1 by 0..1, or with names along x; returns the SVG and the two scales. */
  function axes(label, { xLabel, yLabel, xTicks, yTicks, width = 420, height = 280 }) {
    const left = 52, right = 14, top = 12, bottom = 46;
    const x = (value) => left + value * (width - left - right);
    const y = (value) => height - bottom - value * (height - top - bottom);
    const svg = drawn("svg", {
      viewBox: `0 0 ${width} ${height}`, class: "widget-plot", role: "img", "aria-label": label,
    });
    const text = (words, at) => svg.append(drawn("text", at, words));
    for (const [value, words] of xTicks) {
      text(words, { x: x(value), y: height - bottom + 17, "text-anchor": "middle" });
    }
    for (const [value, words] of yTicks) {
      svg.append(drawn("line", { class: "grid", x1: x(0), x2: x(1), y1: y(value), y2: y(value) }));
      text(words, { x: left - 7, y: y(value) + 4, "text-anchor": "end" });
    }
    text(xLabel, { x: x(0.5), y: height - 8, "text-anchor": "middle" });
    text(yLabel, {
      x: 14, y: y(0.5), "text-anchor": "middle", transform: `rotate(-90 14 ${y(0.5)})`,
    });
    return { svg, x, y };
  }

  const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
  const lead = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  /* --- start --- */

  function start(root) {
    const make = kinds[root.dataset.widget];
    const facts = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const stage = root.querySelector(".widget-stage");
    const controls = element("div", { class: "widget-controls" });
    const said = element("p", { class: "widget-said", role: "status" });
    const say = (text) => {
      if (said.textContent !== text) said.textContent = text;
    };
    make({ root, facts, stage, controls, say });
    root.querySelector(".widget-note").remove();
    root.querySelector(".widget-use").hidden = false;
    stage.before(controls);
    stage.after(said);
    root.classList.add("widget-live");
  }

  // The scripts of the kinds come after this one and before the page is complete.
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".widget[data-widget]").forEach(start);
  });

  return {
    kinds, element, drawn, slider, choice, ticks, greys, canvasFor, paint, swatch, axes, percent, lead,
  };
})();
