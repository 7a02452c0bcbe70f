"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const root = document.documentElement;

  // ---- light and dark ----
  const remembered = (value) => {
    try {
      if (value) localStorage.setItem("jembench-theme", value);
      return localStorage.getItem("jembench-theme");
    } catch {
      return null; // a browser that keeps nothing for files
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const first = remembered();
  if (first === "dark" || first === "light") root.dataset.theme = first;

  const toggle = () => {
    const button = document.querySelector("button.theme");
    const show = () => (button.textContent = theme() === "dark" ? "Light" : "Dark");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      remembered(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  };

  // ---- tables ----
  const value = (row, place) => {
    const cell = row.cells[place];
    if (place === 0) return cell.textContent.trim().toLowerCase();
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  };

  const sort = (table, head, order) => {
    const place = head.cellIndex;
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, place), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing ones are last in any order
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
  };

  const sortable = (table) => {
    for (const button of table.querySelectorAll("thead button")) {
      const head = button.closest("th");
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const order = now === null ? button.dataset.first : now === "ascending" ? "descending" : "ascending";
        sort(table, head, order);
      });
    }
  };

  const filtering = (input, changed) => {
    const tables = [...document.querySelectorAll("table.sheet tbody")];
    const rows = tables.flatMap((body) => [...body.rows]);
    const names = rows.map((row) => row.cells[0].querySelector("bdi").textContent.toLowerCase());
    const output = document.querySelector("output.count");
    input.addEventListener("input", () => {
      const words = input.value.trim().toLowerCase();
      const shown = new Set();
      rows.forEach((row, place) => {
        row.hidden = !names[place].includes(words);
        if (!row.hidden) shown.add(row.cells[0].querySelector("a").getAttribute("href"));
      });
      output.textContent = words ? `${shown.size} of ${output.dataset.all} models` : `${output.dataset.all} models`;
      changed((point) => point.name.toLowerCase().includes(words));
    });
  };

  // ---- the trade-off ----
  const make = (tag, attributes, words) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, item] of Object.entries(attributes)) node.setAttribute(name, item);
    if (words !== undefined) node.textContent = words;
    return node;
  };

  const brief = (number) => {
    const size = Math.abs(number);
    if (size >= 1e6) return `${Number((number / 1e6).toPrecision(3))} M`;
    if (size >= 1e4) return `${Number((number / 1e3).toPrecision(3))} k`;
    return String(Number(number.toPrecision(size < 100 ? 3 : 4)));
  };

  const scale = (numbers, from, to) => {
    let low = Math.min(...numbers.flat());
    let high = Math.max(...numbers.flat());
    const values = numbers.map(([number]) => number);
    const log = low > 0 && Math.max(...values) > 20 * Math.min(...values);
    const f = log ? Math.log10 : (number) => number;
    const edge = (f(high) - f(low)) * 0.06 || Math.abs(f(low)) * 0.05 || 0.5;
    const [a, b] = [f(low) - edge, f(high) + edge];
    const at = (number) => from + ((f(number) - a) / (b - a)) * (to - from);
    const ticks = [];
    if (log) {
      for (let power = Math.floor(a); power <= b; power += 1)
        for (const factor of b - a > 2 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
    } else {
      const raw = (b - a) / 5;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.99);
      for (let n = Math.ceil(a / step); n * step <= b; n += 1) ticks.push(n * step);
    }
    const lines = ticks.filter((tick) => f(tick) >= a && f(tick) <= b);
    return { at, lines, log };
  };

  const scatter = (section) => {
    const { axes, points, x, y } = JSON.parse(document.getElementById("points").textContent);
    const plot = section.querySelector(".plot");
    const selects = Object.fromEntries(["x", "y"].map((name) => [name, section.querySelector(`[data-axis=${name}]`)]));
    let wanted = () => true;

    for (const [name, select] of Object.entries(selects)) {
      let group = null;
      axes.forEach((axis, place) => {
        if (group === null || group.label !== axis.group) {
          group = document.createElement("optgroup");
          group.label = axis.group;
          select.append(group);
        }
        const option = document.createElement("option");
        option.value = place;
        option.textContent = axis.title;
        group.append(option);
      });
      select.value = name === "x" ? x : y;
      select.addEventListener("change", () => draw());
    }

    const title = (place) => axes[place].title + (axes[place].unit ? `, ${axes[place].unit}` : "");

    const draw = () => {
      const [across, up] = [Number(selects.x.value), Number(selects.y.value)];
      const there = points.filter((point) => point.at[across] && point.at[up] && wanted(point));
      plot.replaceChildren();
      if (!there.length) {
        const words = document.createElement("p");
        words.className = "small";
        words.textContent = "No model has both numbers.";
        plot.append(words);
        return;
      }
      const width = Math.max(300, plot.clientWidth);
      const height = Math.round(Math.min(460, Math.max(320, width * 0.6)));
      const box = { left: 62, right: width - 16, top: 14, bottom: height - 46 };
      const ends = (place) => there.map((point) => point.at[place].filter((number) => number !== null));
      const h = scale(ends(across), box.left, box.right);
      const v = scale(ends(up), box.bottom, box.top);
      const label = `${title(up)} against ${title(across)}, ${there.length} models`;
      const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });

      const room = Math.max(1, Math.ceil(h.lines.length / (width / 90)));
      h.lines.forEach((tick, place) => {
        svg.append(make("line", { x1: h.at(tick), x2: h.at(tick), y1: box.top, y2: box.bottom, class: "grid" }));
        if (place % room === 0)
          svg.append(make("text", { x: h.at(tick), y: box.bottom + 17, class: "middle" }, brief(tick)));
      });
      for (const tick of v.lines) {
        svg.append(make("line", { x1: box.left, x2: box.right, y1: v.at(tick), y2: v.at(tick), class: "grid" }));
        svg.append(make("text", { x: box.left - 8, y: v.at(tick) + 4, class: "end" }, brief(tick)));
      }
      const middle = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
      const words = (place, axis) => title(place) + (axis.log ? " (log)" : "");
      svg.append(make("text", { x: middle[0], y: height - 8, class: "name middle" }, words(across, h)));
      const turned = `translate(14 ${middle[1]}) rotate(-90)`;
      svg.append(make("text", { transform: turned, class: "name middle" }, words(up, v)));

      const taken = [];
      const places = there.map((point) => [h.at(point.at[across][0]), v.at(point.at[up][0])]);
      for (const [px, py] of places) taken.push([px - 4, py - 4, px + 4, py + 4]);
      there.forEach((point, place) => {
        const [px, py] = places[place];
        const [, left, right] = point.at[across];
        const [, low, high] = point.at[up];
        const link = make("a", { href: point.link, class: "point" });
        if (left !== null) link.append(make("line", { x1: h.at(left), x2: h.at(right), y1: py, y2: py, class: "whisker" }));
        if (low !== null) link.append(make("line", { x1: px, x2: px, y1: v.at(low), y2: v.at(high), class: "whisker" }));
        link.append(make("circle", { cx: px, cy: py, r: 5, class: "dot" }));
        const said = `${point.name}: ${title(across)} ${brief(point.at[across][0])}, ${title(up)} ${brief(point.at[up][0])}`;
        link.append(make("title", {}, said));
        svg.append(link);
      });
      there.forEach((point, place) => {
        const [px, py] = places[place];
        const name = point.name.length > 24 ? `${point.name.slice(0, 23)}…` : point.name;
        const size = 6.8 * name.length;
        const choices = [
          [px + 9, py - 6, "start", px + 9],
          [px + 9, py + 15, "start", px + 9],
          [px - 9, py - 6, "end", px - 9 - size],
          [px - 9, py + 15, "end", px - 9 - size],
          [px + 9, py - 20, "start", px + 9],
          [px - 9, py + 29, "end", px - 9 - size],
          [px + 9, py + 29, "start", px + 9],
          [px - 9, py - 20, "end", px - 9 - size],
          [px + 9, py - 34, "start", px + 9],
          [px - 9, py + 43, "end", px - 9 - size],
        ];
        const free = choices.find(([, level, , start]) => {
          const area = [start, level - 11, start + size, level + 3];
          const inside = area[0] >= box.left && area[2] <= box.right && area[1] >= 0 && area[3] <= box.bottom;
          return inside && taken.every((t) => t[2] < area[0] || t[0] > area[2] || t[3] < area[1] || t[1] > area[3]);
        });
        if (!free) return;
        taken.push([free[3], free[1] - 11, free[3] + size, free[1] + 3]);
        svg.append(make("text", { x: free[0], y: free[1], class: `label ${free[2]}` }, name));
      });
      plot.append(svg);
    };

    let width = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth !== width) {
        width = plot.clientWidth;
        draw();
      }
    }).observe(plot);
    return (filter) => {
      wanted = filter;
      draw();
    };
  };

  document.addEventListener("DOMContentLoaded", () => {
    toggle();
    document.querySelectorAll("table.sheet").forEach(sortable);
    const section = document.querySelector(".tradeoff");
    const changed = section ? scatter(section) : () => {};
    const input = document.getElementById("filter");
    if (input) filtering(input, changed);
  });
})();
