// The page's own script: filters, figures, the table. Whatever comes from a run is set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const get = (id) => document.getElementById(id);

  // --- what the filters leave ---------------------------------------------------------------------------------------

  const form = get("filter");

  const chosen = () => {
    const sets = {};
    for (const box of all("input", form)) {
      sets[box.name] ??= new Set();
      if (box.checked) sets[box.name].add(box.value);
    }
    return sets;
  };

  const left = () => {
    const sets = Object.entries(chosen());
    return new Set(data.rows.filter((row) => sets.every(([key, set]) => set.has(String(row[key])))).map((row) => row.n));
  };

  let shown = left();

  const show = () => {
    shown = left();
    for (const line of all("#table tbody tr")) line.hidden = !shown.has(Number(line.dataset.n));
    get("shown").textContent = `${shown.size} of ${data.rows.length} rows.`;
    get("copied").textContent = "";
    showFindings();
    for (const panel of panels) panel.fill();
  };

  // --- findings: those of rows that are shown, and those of whole jobs ------------------------------------------------

  const showFindings = () => {
    const items = all(".finding");
    for (const item of items) {
      const rows = item.dataset.rows ? item.dataset.rows.split(" ").map(Number) : [];
      item.hidden = rows.length === 0 ? shown.size === 0 : !rows.some((n) => shown.has(n));
    }
    for (const kind of all(".kind")) {
      const more = all("details .finding", kind).filter((item) => !item.hidden).length;
      kind.hidden = all(".finding", kind).every((item) => item.hidden);
      for (const details of all("details", kind)) details.hidden = more === 0;
      for (const number of all(".many-more", kind)) number.textContent = more;
    }
    const fit = items.filter((item) => !item.hidden).length;
    const found = `${items.length} ${items.length === 1 ? "finding" : "findings"}`;
    get("found").textContent = `${fit === items.length ? found : `${fit} of ${found}, about the rows shown`}; the most severe first.`;
  };

  // A link to a finding that is folded away or filtered out shows it.
  const follow = () => {
    const target = location.hash.length > 1 && get(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let each = target; each; each = each.parentElement) {
      each.hidden = false;
      if (each.tagName === "DETAILS") each.open = true;
    }
    target.scrollIntoView();
    if (target.tabIndex === -1) target.focus({ preventScroll: true });
  };

  // --- figures ----------------------------------------------------------------------------------------------------------

  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (scheme.matches ? "dark" : "light")) === "dark";

  const config = (palette) => {
    const style = getComputedStyle(document.documentElement);
    const [text, dim, line] = isDark() ? ["#e8e9eb", "#a2a8af", "#383c42"] : ["#1b1d20", "#5b6066", "#d9dce0"];
    return {
      background: "transparent",
      font: style.fontFamily || "sans-serif",
      view: { stroke: null },
      axis: { labelColor: dim, titleColor: text, gridColor: line, domainColor: dim, tickColor: dim, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12 },
      legend: { labelColor: text, titleColor: text, labelFontSize: 11 },
      rule: { color: dim },
      line: { color: dim },
      range: { category: data.palettes[palette][isDark() ? "dark" : "light"] },
    };
  };

  class Panel {
    // One figure of one panel: drawn when it comes into sight, filled anew when filters change.
    constructor(chart, number, home) {
      this.chart = chart;
      this.rows = data[chart.source].filter((row) => row.panel === number && chart.needs.every((field) => row[field] != null));
      if (this.rows.length === 0) return;
      this.figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = data.panels[number];
      this.plot = document.createElement("div");
      this.plot.className = "plot unseen";
      this.figure.append(caption, this.plot);
      home.append(this.figure);
    }

    get left() {
      return this.rows.filter((row) => shown.has(row.n));
    }

    async draw() {
      this.view?.finalize();
      this.seen = true;
      const tall = this.chart.line && { height: this.chart.line * new Set(this.left.map((row) => row.n)).size };
      const spec = { ...this.chart.spec, ...tall, datasets: { shown: this.left }, config: config(this.chart.palette) };
      const name = `${this.chart.title}, ${data.panels[this.rows[0].panel]}. The table has its numbers.`;
      const options = { actions: false, ast: true, renderer: "svg", mode: "vega-lite", tooltip: { theme: "custom" }, logLevel: 1 }; // errors alone: a layer without rows is none
      const made = await window.vegaEmbed(this.plot, { ...spec, description: name }, options);
      this.view = made.view;
      this.plot.classList.remove("unseen");
    }

    fill() {
      if (!this.figure) return;
      const rows = this.left;
      this.figure.hidden = rows.length === 0;
      if (!this.view || rows.length === 0) return;
      if (this.chart.line) this.draw(); // as many lines as rows
      else this.view.data("shown", rows).runAsync();
    }
  }

  const panels = Object.values(data.charts).flatMap((chart) => {
    const home = document.querySelector(`[data-chart="${chart.key}"]`);
    return Object.keys(data.panels).map((number) => new Panel(chart, Number(number), home)).filter((panel) => panel.figure);
  });

  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        const panel = panels.find((each) => each.plot === entry.target);
        watch.unobserve(entry.target);
        panel.draw();
      }
    },
    { rootMargin: "400px" },
  );
  for (const panel of panels) watch.observe(panel.plot);

  const redraw = () => {
    for (const panel of panels.filter((each) => each.seen)) panel.draw();
  };

  const theme = get("theme");
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
    redraw();
  });
  scheme.addEventListener("change", () => {
    nameTheme();
    redraw();
  });
  addEventListener("beforeprint", () => {
    for (const panel of panels.filter((each) => !each.seen)) panel.draw();
  });

  // --- the table ---------------------------------------------------------------------------------------------------------

  const body = document.querySelector("#table tbody");
  const order = all("tr", body); // as it came

  const value = (line, column) => {
    const cell = line.cells[column];
    return cell.dataset.by ?? cell.textContent.trim();
  };

  const isEmpty = (text) => text === "" || text === "\u2013";
  const number = (text) => (text === "inf" ? Infinity : Number(text));

  // Empty cells go last, whatever the direction.
  const compare = (a, b, numeric, up) => {
    if (isEmpty(a) || isEmpty(b)) return Number(isEmpty(a)) - Number(isEmpty(b));
    const by = numeric ? number(a) - number(b) || 0 : a.localeCompare(b, "en", { numeric: true });
    return up ? by : -by;
  };

  const sort = (head) => {
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    const texts = new Map(order.map((line) => [line, value(line, column)]));
    const numeric = [...texts.values()].every((text) => isEmpty(text) || !Number.isNaN(number(text)));
    const sorted = [...order].sort((a, b) => compare(texts.get(a), texts.get(b), numeric, up));
    for (const each of all("#table th")) each.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...sorted);
  };
  for (const head of all("#table th")) head.querySelector("button").addEventListener("click", () => sort(head));

  const csv = () => {
    const keys = Object.keys(data.rows[0] ?? {}).filter((key) => !["n", "panel", "latency", "against", "right", "takes"].includes(key));
    const quoted = (field) => {
      const text = field == null ? "" : String(field);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const rows = all("tr", body).filter((line) => !line.hidden).map((line) => data.rows[Number(line.dataset.n)]);
    return [keys, ...rows.map((row) => keys.map((key) => row[key]))].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
  };

  const copied = (words) => {
    get("copied").textContent = words;
  };

  const copy = async () => {
    const text = csv();
    const many = `${text.trimEnd().split("\n").length - 1} rows copied.`;
    try {
      await navigator.clipboard.writeText(text);
      copied(many);
    } catch {
      // a browser that does not trust files, or was asked not to
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      copied(done ? many : "The browser refused; save it instead.");
    }
  };

  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "rows.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // --- begin --------------------------------------------------------------------------------------------------------------

  get("copy").addEventListener("click", copy);
  get("save").addEventListener("click", save);
  form.addEventListener("change", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of all("[data-all]", form)) {
    button.addEventListener("click", () => {
      for (const box of all("input", button.closest("fieldset"))) box.checked = button.dataset.all === "1";
      show();
    });
  }
  addEventListener("hashchange", follow);
  for (const id of ["copy", "save", "theme"]) get(id).hidden = false;
  get("no-script").hidden = true;
  nameTheme();
  show();
  follow();
})();
