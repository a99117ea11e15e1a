/* Widgets of images: a stack, the fates of its patches, thresholds, Grad-CAM under a curtain, and
   features with their patches. */

"use strict";

(() => {
  const {
    kinds, element, drawn, slider, choice, ticks, greys, canvasFor, paint, swatch, percent, lead,
  } = pageWidgets;

  kinds.stack = ({ facts, stage, controls, say }) => {
    const context = canvasFor(stage, facts).getContext("2d");
    const on = facts.channels.map(() => true);
    let plane = facts.start, asked = 0;
    const show = async () => {
      const { say: words, pictures } = facts.planes[plane];
      const mine = ++asked;
      const channels = await Promise.all(pictures.map(greys));
      if (mine !== asked) return; // the slider is further already
      paint(context, channels, facts.channels, on, (value) => value / 255);
      const seen = facts.channels.filter((_, c) => on[c]);
      const names = seen.map(({ name, word }) => `${name} in ${word}`).join(", ") || "no channel";
      context.canvas.setAttribute("aria-label", `${lead(words)}: ${names}`);
      say(`${lead(words)}; shown: ${names}.`);
    };
    const update = slider(
      controls,
      {
        label: "Plane", max: facts.planes.length - 1, value: plane,
        say: (value) => facts.planes[value].say,
      },
      (value) => {
        plane = value;
        show();
      },
    );
    ticks(
      controls,
      {
        legend: "Channels", type: "checkbox", checked: () => true,
        options: facts.channels.map(({ name, color }) => swatch(color, name)),
      },
      (c, checked) => {
        on[c] = checked;
        show();
      },
    );
    update();
  };

  kinds.montage = ({ facts, stage, controls, say }) => {
    const list = stage.querySelector("ul");
    const items = [...list.children];
    const shown = () => items.filter((item) => !item.hidden);
    const counted = () => say(`${shown().length} of ${items.length} patches are shown.`);
    const reach = (item) => items.forEach((other) => { other.tabIndex = other === item ? 0 : -1; });
    ticks(
      controls,
      {
        legend: "Show", type: "checkbox", checked: () => true,
        options: facts.fates.map(({ fate, shown: number }) => `${fate} (${number})`),
      },
      (k, checked) => {
        for (const item of items) {
          if (item.dataset.fate === facts.fates[k].fate) item.hidden = !checked;
        }
        reach(shown()[0]);
        counted();
      },
    );
    for (const item of items) {
      item.addEventListener("focus", () => {
        reach(item);
        say(item.dataset.say);
      });
      item.addEventListener("pointerenter", () => say(item.dataset.say));
    }
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const left = shown();
      const next = left[left.indexOf(document.activeElement) + step];
      if (step === undefined) return;
      event.preventDefault();
      next?.focus();
    });
    reach(items[0]);
    counted();
  };

  kinds.threshold = ({ facts, stage, controls, say }) => {
    const context = canvasFor(stage, facts).getContext("2d");
    const { width, height } = facts;
    const all = facts.channels.map(() => true);
    let step = facts.factors.indexOf(1), least = facts.least, mask = true, asked = 0;
    const hatch = (x, y, w, h) => {
      context.save();
      context.beginPath();
      context.rect(x, y, w, h);
      context.clip();
      context.fillStyle = "rgb(170 170 170 / 60%)";
      context.fillRect(x, y, w, h);
      context.strokeStyle = "rgb(60 60 60 / 80%)";
      context.beginPath();
      for (let at = x - h; at < x + w; at += 9) {
        context.moveTo(at, y + h);
        context.lineTo(at + h, y);
      }
      context.stroke();
      context.restore();
    };
    const show = async () => {
      const mine = ++asked;
      const channels = await Promise.all((mask ? facts.levels : facts.plane).map(greys));
      if (mine !== asked) return;
      const strength = mask ? (value) => Number(value > step) : (value) => value / 255;
      paint(context, channels, facts.channels, all, strength);
      const passes = facts.ratios[step].map((ratio) => ratio >= least);
      const [h, w] = [facts.patch[0] * height, facts.patch[1] * width];
      context.lineWidth = 1.5;
      facts.corners.forEach(([y, x], k) => {
        if (!passes[k]) hatch(x * width, y * height, w, h);
        context.strokeStyle = "white";
        context.strokeRect(x * width, y * height, w, h);
      });
      const limits = facts.channels.map(({ name }, c) => `${name} above ${facts.limits[c][step]}`);
      const kept = `${passes.filter(Boolean).length} of ${passes.length} patches of the plane pass`;
      context.canvas.setAttribute("aria-label", `Masks and patches of the plane: ${kept}`);
      say(`Foreground is ${limits.join(", ")}. With at least ${percent(least, 1)} of it, ${kept}.`);
    };
    slider(
      controls,
      {
        label: "Threshold", max: facts.factors.length - 1, value: step,
        say: (value) => `${facts.factors[value].toFixed(1)} × Otsu`,
      },
      (value) => {
        step = value;
        show();
      },
    )();
    slider(
      controls,
      {
        label: "Least foreground", max: Math.max(0.3, least), step: "any", value: least,
        say: (value) => percent(value, 1),
      },
      (value) => {
        least = value;
        show();
      },
    )();
    ticks(
      controls,
      {
        legend: "Below the patches", type: "radio", options: ["masks", "image"],
        checked: (k) => k === 0,
      },
      (k) => {
        mask = k === 0;
        show();
      },
    );
  };

  kinds.curtain = ({ facts, stage, controls, say }) => {
    const frame = stage.querySelector(".widget-picture");
    const [below, above] = frame.querySelectorAll("img");
    const bar = frame.querySelector(".widget-bar");
    let image = 0, map = facts.maps.length - 1, tiling = facts.tilings.length - 1;
    const show = () => {
      const { name, below: greyOnes, above: maps, bar: length } = facts.images[image];
      const what = map === facts.maps.length - 1 ? "mean of the organelles" : facts.maps[map];
      below.src = greyOnes[map];
      below.alt = `Middle plane of an image of class ${name}, ${what}`;
      above.src = maps[tiling][map];
      above.alt = `Its Grad-CAM map, ${facts.maps[map]}, squares ${facts.tilings[tiling]}`;
      if (bar) bar.hidden = !length;
      if (bar && length) {
        bar.style.width = `${length[0]}%`;
        bar.firstElementChild.textContent = length[1];
      }
      say(`${lead(name)}; map: ${facts.maps[map]}, squares ${facts.tilings[tiling]}.`);
    };
    choice(controls, { label: "Class", options: facts.images.map(({ name }) => name) }, (k) => {
      image = k;
      show();
    });
    choice(controls, { label: "Map", options: facts.maps, value: map }, (k) => {
      map = k;
      show();
    });
    choice(controls, { label: "Squares", options: facts.tilings, value: tiling }, (k) => {
      tiling = k;
      show();
    });
    slider(
      controls,
      {
        label: "Line", max: 100, value: 50,
        say: (value) => `${value} % image, ${100 - value} % map`,
      },
      (value) => frame.style.setProperty("--cut", `${value}%`),
    )();
    show();
  };

  kinds.features = ({ facts, stage, controls, say }) => {
    const size = 420, edge = 14, enlarged = 128;
    const place = (share) => edge + share * (size - 2 * edge);
    const thumb = element("div", { class: "widget-thumb", role: "img" });
    thumb.style.width = thumb.style.height = `${enlarged}px`;
    thumb.style.backgroundImage = `url("${facts.sheet}")`;
    thumb.style.backgroundSize = `${facts.columns * enlarged}px auto`;
    const names = facts.classes.map(({ name }) => name);
    const svg = drawn("svg", {
      viewBox: `0 0 ${size} ${size}`, class: "widget-plot widget-scatter", role: "group",
      "aria-label": "UMAP of patches; arrow keys go from dot to dot",
    });
    const showers = [];
    const dots = facts.points.map(([x, y, k], index) => {
      const label = `class ${names[k]}, ${facts.words[index]}`;
      const dot = drawn("circle", {
        cx: place(x), cy: place(y), r: 5, fill: facts.classes[k].color, tabindex: -1, role: "img",
        "aria-label": label,
      });
      const show = () => {
        dots.forEach((other) => other.classList.toggle("widget-chosen", other === dot));
        thumb.style.backgroundPosition =
          `-${(index % facts.columns) * enlarged}px -${Math.floor(index / facts.columns) * enlarged}px`;
        thumb.setAttribute("aria-label", `Patch: ${label}`);
        say(`${lead(label)}.`);
      };
      showers.push(show);
      dot.addEventListener("pointerenter", show);
      dot.addEventListener("focus", () => {
        dots.forEach((other) => other.setAttribute("tabindex", other === dot ? 0 : -1));
        show();
      });
      return dot;
    });
    // In random order, so that no class covers another; the same one on every visit.
    const order = dots.map((_, k) => k).sort((a, b) => ((a * 7919) % 1009) - ((b * 7919) % 1009));
    svg.append(...order.map((k) => dots[k]));
    dots[0].setAttribute("tabindex", 0);
    const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("keydown", (event) => {
      const direction = directions[event.key];
      const from = facts.points[dots.indexOf(document.activeElement)];
      if (!direction || !from) return;
      event.preventDefault();
      let best = null, nearest = Infinity;
      facts.points.forEach(([x, y], k) => {
        const along = (x - from[0]) * direction[0] + (y - from[1]) * direction[1];
        const aside = Math.abs((x - from[0]) * direction[1]) + Math.abs((y - from[1]) * direction[0]);
        if (along > 0 && aside <= along && along + aside < nearest) {
          nearest = along + aside;
          best = dots[k];
        }
      });
      best?.focus();
    });
    choice(controls, { label: "Bring out", options: ["all classes", ...names] }, (k) => {
      dots.forEach((dot, index) => {
        const out = k === 0 || facts.points[index][2] === k - 1;
        dot.classList.toggle("widget-faint", !out);
        if (k > 0 && out) svg.append(dot); // above the others
      });
    });
    const legend = element("ul", { class: "widget-legend" });
    for (const { name, color } of facts.classes) legend.append(element("li", {}, swatch(color, name)));
    stage.replaceChildren(
      element("div", { class: "widget-beside" }, svg, element("div", {}, thumb, legend)),
      stage.querySelector(".widget-note"),
    );
    showers[0]();
  };
})();
