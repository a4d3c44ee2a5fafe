"use strict";
// Adds what needs a script: columns that sort, and a switch between light and dark. Without it the page is whole.
(() => {
  const root = document.documentElement;
  const toggle = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
  const label = () => {
    const other = isDark() ? "light" : "dark";
    toggle.textContent = isDark() ? "Light mode" : "Dark mode";
    toggle.setAttribute("aria-label", `Switch to ${other} mode`);
  };
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  preferred.addEventListener("change", label);
  label();
  toggle.hidden = false;

  const collator = new Intl.Collator("en", { numeric: true });
  const compare = {
    number: (one, two) => Number(one) - Number(two),
    text: (one, two) => collator.compare(one, two),
  };

  // Rows without a key come last, whichever way the others go.
  const sort = (table, column, kind, direction) => {
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [row.cells[column].dataset.key, row]);
    keyed.sort(([one], [two]) => {
      if (one === undefined || two === undefined) {
        return (one === undefined) - (two === undefined);
      }
      return direction * compare[kind](one, two);
    });
    body.append(...keyed.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const isAscending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", isAscending ? "descending" : "ascending");
        sort(table, column, head.dataset.sort || "text", isAscending ? -1 : 1);
      });
    });
  }
})();
