"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("live");

  // Theme: as the system has it, light, dark.
  const theme = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme.lastElementChild.textContent) + 1) % 3];
    theme.lastElementChild.textContent = next;
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  });

  // Tables: a click on a heading sorts the classes by its column; a second one turns the order round, the first column restores it.
  for (const table of all("table.scores")) {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending" && column > 0;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => column ? Number(row.cells[column].dataset.value) : Number(row.dataset.order);
      [...body.rows].sort((a, b) => down ? value(b) - value(a) : value(a) - value(b)).forEach((row) => body.append(row));
    }));
  }

  // Charts: keys switch lines on and off; the pointer reads the values off.
  for (const figure of all("[data-chart]")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const svg = figure.querySelector("svg");
    const cursor = figure.querySelector(".cursor");
    const keys = all(".key", figure);
    for (const key of keys) key.addEventListener("click", () => {
      const on = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(on));
      figure.querySelector(`g[data-line="${key.dataset.line}"]`).classList.toggle("off", !on);
    });
    const [low, high, start, end] = data.x;
    const nearest = (steps, x) => steps.reduce((best, step, i) => Math.abs(step - x) < Math.abs(steps[best] - x) ? i : best, 0);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = Math.min(end, Math.max(start, (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width));
      const x = low + (at - start) / (end - start) * (high - low);
      cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); cursor.setAttribute("visibility", "visible");
      data.lines.forEach((line, i) => {
        const index = nearest(line.steps, x);
        const value = line.values[index];
        keys[i].querySelector("output").textContent = value === null ? "–" : `${Number(value.toPrecision(4))} at ${line.steps[index]}`;
      });
    });
    svg.addEventListener("pointerleave", () => {
      cursor.setAttribute("visibility", "hidden");
      for (const key of keys) key.querySelector("output").textContent = "";
    });
  }

  // Tabs, with the arrow keys as well.
  for (const list of all("[role=tablist]")) {
    const tabs = all("[role=tab]", list);
    const choose = (chosen) => tabs.forEach((tab) => {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    });
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!move) return;
        const next = tabs[(i + move + tabs.length) % tabs.length];
        choose(next);
        next.focus();
      });
    });
    choose(tabs[0]);
  }

  // Panels: two layers, cut where the slider is; dragging the picture moves the slider.
  for (const viewer of all(".viewer")) {
    const stage = viewer.querySelector(".stage");
    const slider = viewer.querySelector("input[type=range]");
    const pickers = all("select", viewer);
    const show = () => {
      for (const layer of all(".layer", stage)) for (const picker of pickers) {
        layer.classList.toggle(`is-${picker.dataset.side}`, layer.dataset.layer === picker.value);
      }
      stage.style.setProperty("--cut", `${slider.value}%`);
      slider.setAttribute("aria-valuetext", `${slider.value} % ${pickers[0].selectedOptions[0].text}, ${100 - slider.value} % ${pickers[1].selectedOptions[0].text}`);
    };
    const drag = (event) => {
      if (!event.buttons) return;
      const box = stage.getBoundingClientRect();
      slider.value = Math.round((event.clientX - box.left) / box.width * 100);
      show();
    };
    slider.addEventListener("input", show);
    stage.addEventListener("pointerdown", drag);
    stage.addEventListener("pointermove", drag);
    stage.addEventListener("dragstart", (event) => event.preventDefault());
    for (const picker of pickers) picker.addEventListener("change", () => {
      // A layer cannot lie on both sides: the other side takes what this one had.
      const other = pickers.find((each) => each !== picker);
      if (other.value === picker.value) other.value = picker.dataset.before;
      for (const each of pickers) each.dataset.before = each.value;
      show();
    });
    for (const picker of pickers) picker.dataset.before = picker.value;
    show();
  }

  // The memory's heat map at an iteration.
  for (const figure of all("[data-heat]")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const cells = all("rect", figure);
    const slider = figure.querySelector("input[type=range]");
    const stretch = figure.querySelector("input[type=checkbox]");
    const ends = figure.querySelectorAll(".scale span");
    const size = data.names.length;
    const others = data.maps.flatMap((map) => map.filter((value, i) => value !== null && i % (size + 1)));
    const [least, most] = [Math.min(...others), Math.max(...others)];
    const readout = figure.querySelector(".readout");
    const shade = (value) => {
      if (value === null) return "#969696";
      if (stretch.checked && most > least) value = Math.max(-100, Math.min(100, ((value - least) / (most - least) * 2 - 1) * 100));
      const end = value < 0 ? [33, 102, 172] : [178, 24, 43];
      return `rgb(${end.map((v) => Math.round(247 + Math.abs(value) / 100 * (v - 247))).join(" ")})`;
    };
    const map = () => data.maps[slider.value];
    const paint = () => {
      cells.forEach((cell, i) => cell.setAttribute("fill", shade(map()[i])));
      figure.querySelector(".step").textContent = data.steps[slider.value];
      slider.setAttribute("aria-valuetext", `iteration ${data.steps[slider.value]}`);
      [ends[0].textContent, ends[1].textContent] = stretch.checked ? [least / 100, most / 100] : [-1, 1];
    };
    slider.addEventListener("input", paint);
    stretch.addEventListener("change", paint);
    paint();
    cells.forEach((cell, i) => cell.addEventListener("pointerenter", () => {
      const value = map()[i];
      const [row, column] = [Math.floor(i / data.names.length), i % data.names.length];
      readout.textContent = `${data.names[row]} and ${data.names[column]}: ${value === null ? "not written yet" : (value / 100).toFixed(2)}`;
    }));
  }
})();
