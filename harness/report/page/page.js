// The page's own script: filters, figures, the table. Whatever comes from a run is set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { keys, rows: found } = data.rows; // keys stand once
  data.rows = found.map((row) => Object.fromEntries(row.map((value, n) => [keys[n], value])));
  // Points of a series over nights come as columns.
  for (const [n, { at, value, low, high, off }] of (data.points?.series ?? []).entries()) {
    const disturbed = new Set(off);
    for (const [k, night] of at.entries()) {
      data.marks.push({ n, panel: n, kind: "point", night: data.points.nights[night], value: value[k], low: low[k], high: high[k], usable: !disturbed.has(k) });
    }
  }
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const get = (id) => document.getElementById(id);

  // --- what the filters leave ---------------------------------------------------------------------------------------

  const form = get("filter");

  // Boxes have places in the lists of values, not values: what HTML does to line breaks in those it would do to names.
  const chosen = () => {
    const sets = new Map(Object.keys(data.filters).map((key) => [key, new Set()]));
    for (const box of all("input:checked", form)) sets.get(box.name).add(data.filters[box.name][Number(box.value)]);
    return [...sets];
  };

  const left = () => {
    const sets = chosen();
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

  // --- findings: those of rows that are shown, and those of runs without any --------------------------------------------

  const showFindings = () => {
    const items = all(".finding");
    for (const item of items) {
      const rows = item.dataset.rows ? item.dataset.rows.split(" ").map(Number) : [];
      item.hidden = rows.length > 0 && !rows.some((n) => shown.has(n));
    }
    for (const kind of all(".kind")) {
      const more = all("details .finding", kind).filter((item) => !item.hidden).length;
      kind.hidden = all(".finding", kind).every((item) => item.hidden);
      for (const details of all("details", kind)) details.hidden = more === 0;
      for (const number of all(".many-more", kind)) number.textContent = more;
    }
    const fit = items.filter((item) => !item.hidden).length;
    const [one, many] = get("found").dataset.words.split(" ");
    const found = `${items.length} ${items.length === 1 ? one : many}`;
    get("found").textContent = `${fit === items.length ? found : `${fit} of ${found}, about the rows shown`}; the most severe first.`;
  };

  // A link to a finding that is folded away or filtered out shows it.
  const follow = () => {
    const target = document.getElementById(location.hash.slice(1)); // ids are plain letters
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
    const [text, dim, line] = isDark() ? ["#e8e9eb", "#a2a8af", "#383c42"] : ["#1b1d20", "#5b6066", "#d9dce0"];
    return {
      background: "transparent",
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: null },
      axis: { labelColor: dim, titleColor: text, gridColor: line, domainColor: dim, tickColor: dim, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12, labelFlush: false, labelSeparation: 8 },
      legend: { labelColor: text, titleColor: text, labelFontSize: 11 },
      rule: { color: dim },
      line: { color: dim },
      point: { color: text },
      range: { category: data.palettes[palette][isDark() ? "dark" : "light"] },
    };
  };

  // What each panel draws: sorted out once, for there may be hundreds.
  const drawn = {};
  for (const source of new Set(Object.values(data.charts).map((chart) => chart.source))) {
    drawn[source] = Object.keys(data.panels).map(() => []);
    for (const row of data[source]) drawn[source][row.panel].push(row);
  }

  class Panel {
    // One figure of one panel: drawn when it comes into sight, filled anew when filters change.
    constructor(chart, number, home) {
      this.chart = chart;
      this.rows = drawn[chart.source][number].filter((row) => chart.needs.every((field) => row[field] != null));
      this.seen = this.stale = this.busy = false;
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

    get visible() {
      return !this.figure.hidden;
    }

    // Drawings take turns: what is asked for meanwhile is drawn afterwards, as things stand then. A hidden figure has no
    // width; it is drawn when it is shown again.
    async draw() {
      this.seen = this.stale = true;
      if (this.busy) return;
      this.busy = true;
      try {
        while (this.stale && this.visible) {
          this.stale = false;
          await this.embed();
        }
      } finally {
        this.busy = false;
      }
    }

    async embed() {
      this.view?.finalize();
      const rows = this.left;
      const tall = this.chart.line && { height: this.chart.line * new Set(rows.map((row) => row.name)).size };
      const spec = { ...this.chart.spec, ...tall, datasets: { shown: rows }, config: config(this.chart.palette) };
      const name = `${this.chart.title}, ${data.panels[this.rows[0].panel]}. The table has its numbers.`;
      const options = { actions: false, ast: true, renderer: "svg", mode: "vega-lite", tooltip: { theme: "custom" }, logLevel: 1 }; // errors alone: a layer without rows is none
      const made = await window.vegaEmbed(this.plot, { ...spec, description: name }, options);
      this.view = made.view;
      this.plot.classList.remove("unseen");
    }

    fill() {
      const rows = this.left;
      this.figure.hidden = rows.length === 0;
      if (!this.seen) return;
      if (this.chart.line || this.busy || !this.view || this.stale) this.draw(); // lines: as many as rows
      else if (rows.length > 0) this.view.data("shown", rows).runAsync();
      else this.stale = true;
    }

    // Neighbours come and go with the filters, and leave more or less room.
    fit() {
      const width = this.plot.clientWidth;
      if (this.view && !this.busy && width > 0) this.view.signal("width", width).runAsync();
    }
  }

  const panels = Object.values(data.charts).flatMap((chart) => {
    const home = document.querySelector(`[data-chart="${chart.key}"]`);
    return Object.keys(data.panels).map((number) => new Panel(chart, Number(number), home)).filter((panel) => panel.figure);
  });

  const panelOf = new Map(panels.map((panel) => [panel.plot, panel]));

  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        watch.unobserve(entry.target);
        panelOf.get(entry.target).draw();
      }
    },
    { rootMargin: "400px" },
  );
  const room = new ResizeObserver((entries) => {
    for (const entry of entries) panelOf.get(entry.target).fit();
  });
  for (const panel of panels) {
    watch.observe(panel.plot);
    room.observe(panel.plot);
  }

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
  // Paper is white, and has no place to come by: Vega is done before the browser takes the picture.
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    for (const panel of panels) panel.draw();
  });
  addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before;
    else delete document.documentElement.dataset.theme;
    if (isDark()) redraw();
  });

  // --- the table ---------------------------------------------------------------------------------------------------------

  const body = document.querySelector("#table tbody");
  const order = all("tr", body); // as it came

  const value = (line, column) => {
    const cell = line.cells[column];
    return cell.dataset.by ?? cell.textContent.trim();
  };

  const isEmpty = (text) => ["", "\u2013", "nan"].includes(text);
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
    const keys = data.columns;
    const quoted = (field) => {
      const risky = typeof field === "string" && /^[=+@\t\r-]/.test(field); // spreadsheets would run it
      const text = field == null ? "" : `${risky ? "'" : ""}${field}`;
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
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a busy machine takes its time
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
  document.addEventListener("click", (event) => {
    if (event.target.closest?.('a[href^="#"]')?.hash === location.hash) follow(); // again: no change of the hash
  });
  for (const id of ["copy", "save", "theme"]) get(id).hidden = false;
  get("no-script").hidden = true;
  nameTheme();
  show();
  follow();
})();
