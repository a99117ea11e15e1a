/* Widgets of scores: confusion matrices, precision-recall curves, and scores by patch size. */

"use strict";

(() => {
  const { kinds, element, drawn, slider, choice, ticks, axes, percent, lead } = pageWidgets;
  const RULER = [[0, "0"], [0.25, "0.25"], [0.5, "0.5"], [0.75, "0.75"], [1, "1"]];

  kinds.confusion = ({ facts, stage, controls, say }) => {
    let folds = 0, model = facts.start, level = 0, shares = false;
    const show = () => {
      const counts = facts.counts[folds][level][model];
      const total = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
      const head = element("tr", {}, element("th", { scope: "col" }, "true class"));
      for (const name of facts.classes) head.append(element("th", { scope: "col" }, name));
      const body = element("tbody");
      counts.forEach((row, k) => {
        const line = element("tr", {}, element("th", { scope: "row" }, facts.classes[k]));
        row.forEach((count, j) => {
          const share = total[k] ? count / total[k] : 0;
          const cell = element(
            "td",
            { class: k === j ? "widget-right" : false },
            shares ? percent(share) : String(count),
          );
          cell.style.setProperty("--share", share);
          line.append(cell);
        });
        body.append(line);
      });
      stage.querySelector("table").replaceChildren(element("thead", {}, head), body);
      const present = total.map((_, k) => k).filter((k) => total[k]);
      const accuracy =
        present.reduce((sum, k) => sum + counts[k][k] / total[k], 0) / present.length;
      const right = present.reduce((sum, k) => sum + counts[k][k], 0);
      const all = total.reduce((sum, number) => sum + number, 0);
      say(
        `${facts.models[model]}, ${facts.folds[folds]}: ${right} of ${all} ${facts.levels[level]} ` +
          `right, balanced accuracy ${accuracy.toFixed(2)}.`,
      );
    };
    choice(controls, { label: "Folds", options: facts.folds }, (k) => {
      folds = k;
      show();
    });
    choice(controls, { label: "Model", options: facts.models, value: model }, (k) => {
      model = k;
      show();
    });
    choice(controls, { label: "Count", options: facts.levels }, (k) => {
      level = k;
      show();
    });
    ticks(
      controls,
      {
        legend: "Cells", type: "radio", options: ["counts", "shares of the row"],
        checked: (k) => k === 0,
      },
      (k) => {
        shares = k === 1;
        show();
      },
    );
    show();
  };

  kinds.curves = ({ facts, stage, controls, say }) => {
    let folds = 0, model = facts.start, label = 0, threshold = 50;
    const { svg, x, y } = axes("", {
      xLabel: "recall", yLabel: "precision", xTicks: RULER, yTicks: RULER,
    });
    const inside = drawn("g");
    svg.append(inside);
    const path = ([recall, precision]) =>
      recall.reduce(
        (steps, r, k) => steps + (k ? `V${y(precision[k])}H${x(r)}` : `M${x(r)},${y(precision[k])}`),
        "",
      );
    const show = () => {
      const curves = facts.curves[folds][model];
      const own = curves[label];
      const called = own.called[threshold], right = own.right[threshold];
      const recall = right / own.positives, chance = own.positives / own.total;
      inside.replaceChildren(
        ...curves
          .filter((one) => one !== own)
          .map((one) => drawn("path", { class: "widget-curve widget-other", d: path(one.curve) })),
        drawn("line", { class: "widget-chance", x1: x(0), x2: x(1), y1: y(chance), y2: y(chance) }),
        drawn("path", { class: "widget-curve", d: path(own.curve) }),
      );
      const words = `${facts.models[model]}, ${own.name}`;
      const at = `at a threshold of ${(threshold / 100).toFixed(2)}`;
      let reading = "no patch is called";
      if (called) {
        const precision = right / called;
        inside.append(drawn("circle", { class: "widget-mark", cx: x(recall), cy: y(precision), r: 6 }));
        reading =
          `precision ${precision.toFixed(2)} (${right} of ${called} called), ` +
          `recall ${recall.toFixed(2)} (${right} of ${own.positives})`;
      }
      svg.setAttribute("aria-label", `Precision against recall of ${words}; ${at}, ${reading}`);
      say(
        `${words}, ${facts.folds[folds]}: ${at}, ${reading}. Average precision ` +
          `${own.average.toFixed(2)}; guessing ${chance.toFixed(2)}, the dashed line. Pale: the other classes.`,
      );
    };
    choice(controls, { label: "Folds", options: facts.folds }, (k) => {
      folds = k;
      show();
    });
    choice(controls, { label: "Model", options: facts.models, value: model }, (k) => {
      model = k;
      show();
    });
    choice(controls, { label: "Class", options: facts.curves[0][0].map(({ name }) => name) }, (k) => {
      label = k;
      show();
    });
    slider(
      controls,
      {
        label: "Threshold", max: 100, value: threshold,
        say: (value) => `probability ${(value / 100).toFixed(2)}`,
      },
      (value) => {
        threshold = value;
        show();
      },
    )();
    stage.replaceChildren(svg, stage.querySelector(".widget-note"));
  };

  kinds.sizes = ({ facts, stage, controls, say }) => {
    const picture = stage.querySelector(".widget-picture");
    const frame = picture.querySelector(".widget-frame");
    const image = picture.querySelector("img");
    const number = facts.sizes.length;
    const at = (px) => (facts.sizes.findIndex((size) => size.px === px) + 0.5) / number;
    let curve = 0, chosen = facts.start;
    const { svg, x, y } = axes("", {
      xLabel: "edge of a patch (the paper's pixels)", yLabel: "balanced accuracy", yTicks: RULER,
      width: 360, height: 260,
      xTicks: facts.sizes.map(({ px }) => [at(px), String(px)]),
    });
    const inside = drawn("g");
    svg.append(inside);
    const show = () => {
      const size = facts.sizes[chosen], { name, points } = facts.curves[curve];
      frame.style.width = `${100 * size.share}%`;
      image.alt = `One cell, and a square of ${size.um.toFixed(1)} µm over it`;
      const line = points.map(([px, value]) => `${x(at(px))},${y(value)}`).join(" ");
      inside.replaceChildren(
        drawn("line", {
          class: "widget-chance", x1: x(0), x2: x(1), y1: y(facts.chance), y2: y(facts.chance),
        }),
        drawn("polyline", { class: "widget-curve", points: line }),
      );
      let reading = "not scored";
      for (const [px, value, low, high] of points) {
        const own = px === size.px;
        if (low !== null) {
          inside.append(
            drawn("line", {
              class: "widget-interval", x1: x(at(px)), x2: x(at(px)), y1: y(low), y2: y(high),
            }),
          );
        }
        inside.append(
          drawn("circle", {
            class: own ? "widget-mark" : "widget-dot", cx: x(at(px)), cy: y(value), r: own ? 7 : 4,
          }),
        );
        if (own) {
          const ends = low === null
            ? "no interval"
            : `95 % interval ${low.toFixed(2)} to ${high.toFixed(2)}`;
          reading = `balanced accuracy ${value.toFixed(2)} (${ends})`;
        }
      }
      const used = size.used == null ? "" : `, ${size.used.toLocaleString("en")} patches used`;
      const words = `${size.px} px, ${size.um.toFixed(1)} µm`;
      svg.setAttribute("aria-label", `Balanced accuracy against patch size, ${name}; ${words}: ${reading}`);
      say(`${lead(words)}${used}; ${name}: ${reading}; chance ${facts.chance.toFixed(2)}, the dashed line.`);
    };
    slider(
      controls,
      {
        label: "Patch", max: number - 1, value: chosen,
        say: (value) => `${facts.sizes[value].px} px, ${facts.sizes[value].um.toFixed(1)} µm`,
      },
      (value) => {
        chosen = value;
        show();
      },
    )();
    choice(controls, { label: "Images", options: facts.curves.map(({ name }) => name) }, (k) => {
      curve = k;
      show();
    });
    stage.replaceChildren(
      element("div", { class: "widget-beside" }, picture, svg),
      stage.querySelector(".widget-note"),
    );
  };
})();
