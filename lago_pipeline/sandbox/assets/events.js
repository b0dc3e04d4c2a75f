"use strict";
const toggle = (row) => { row.nextElementSibling.hidden = !row.nextElementSibling.hidden; };
const rowOf = (event) => event.target.closest("tr.event");
document.addEventListener("click", (event) => { const row = rowOf(event); if (row) toggle(row); });
document.addEventListener("keydown", (event) => {
  const row = rowOf(event);
  if (row && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); toggle(row); }
});
// Look for newer events now and then, but never under somebody who is reading one.
const reading = () => document.hidden || document.querySelector("tr.json:not([hidden])") !== null;
setInterval(async () => {
  if (reading()) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (reading()) return;
  for (const id of ["total", "rows", "pages"]) {
    document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
  }
}, 3000);
