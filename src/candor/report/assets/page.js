"use strict";
// Sorting by a column head, and filtering by text and kind. Empty cells stay last, whichever way a column is sorted.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const numeric = head.classList.contains("right");
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return (numeric ? Number(x) - Number(y) : x.localeCompare(y)) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(compare));
      for (const row of body.rows) row.classList.remove("group");
    });
  });
}
for (const filter of document.querySelectorAll(".filter")) {
  const rows = document.getElementById(filter.dataset.table).tBodies[0].rows;
  const [text, kind] = [filter.querySelector("input"), filter.querySelector("select")];
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const shown = words.every((w) => content.includes(w)) && (!kind.value || row.dataset.kind === kind.value);
      row.hidden = !shown;
    }
  };
  text.addEventListener("input", apply);
  kind.addEventListener("change", apply);
  apply();
}
