
"use strict";
// Sorting and filtering; without this script the tables are whole, and in the report's order.
const order = new Intl.Collator("en", { numeric: true });

function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function sort(table, column, direction) {
  const rows = Array.from(table.tBodies[0].rows, (row) => [key(row, column), row]);
  rows.sort(([a], [b]) => direction * (typeof a === "number" ? a - b : order.compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const isAscending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isAscending ? "descending" : "ascending");
      sort(table, column, isAscending ? -1 : 1);
    });
  });
}

function makeFilter(table) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  label.className = "filter";
  input.type = "search";
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
  label.append("Show rows with ", input);
  table.parentElement.before(label);
}

document.querySelectorAll("table").forEach(makeSortable);
const servers = document.getElementById("servers");
if (servers !== null) {
  makeFilter(servers);
}
