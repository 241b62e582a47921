// Comfort on top of pages that work without script: choosing many rows, asking for a reason before a refusal, closing the menu.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("form[data-select]").forEach(chooseRows);
  document.querySelectorAll("[data-needs-reason]").forEach(askReason);
  document.querySelectorAll("form").forEach(sendOnce);
  document.querySelectorAll(".nav, .tabs").forEach(showCurrent);
  document.addEventListener("click", (event) => {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });
});

// Select all, shift + click (or shift + space) for a range, and a count that is read out.
function chooseRows(form) {
  const rows = () => Array.from(form.querySelectorAll("[data-select-row]"));
  const all = form.querySelector("[data-select-all]");
  const count = form.querySelector("[data-select-count]");
  let last = null;
  let shift = false;
  form.classList.add("live");

  function show() {
    const boxes = rows();
    const chosen = boxes.filter((box) => box.checked).length;
    if (all) {
      all.hidden = boxes.length === 0;
      all.checked = chosen > 0 && chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
    }
    if (count) count.textContent = chosen ? count.dataset.some.replace("{n}", chosen) : count.dataset.none;
    form.classList.toggle("has-choice", chosen > 0);
    boxes.forEach((box) => box.closest("tr").classList.toggle("chosen", box.checked));
  }

  form.addEventListener("click", (event) => { shift = event.shiftKey; }, true);
  form.addEventListener("keydown", (event) => { shift = event.shiftKey; }, true);
  form.addEventListener("change", (event) => {
    const box = event.target;
    if (box === all) rows().forEach((row) => { row.checked = all.checked; });
    if (box.matches("[data-select-row]")) {
      const boxes = rows();
      if (shift && last && last !== box) {
        const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
        boxes.slice(from, to + 1).forEach((row) => { row.checked = box.checked; });
      }
      last = box;
    }
    show();
  });
  show();
}

// On a narrow screen the row of links scrolls: the page one is on must not be out of sight.
function showCurrent(row) {
  const current = row.querySelector("[aria-current]");
  if (current) row.scrollLeft = current.offsetLeft - (row.clientWidth - current.offsetWidth) / 2;
}

// Returning or rejecting needs a reason: say so at the field instead of after a round trip.
function askReason(button) {
  button.addEventListener("click", () => {
    const reason = button.form.querySelector("[name=reason]");
    reason.required = true;
    setTimeout(() => { reason.required = false; }, 0);
  });
}

// A form is sent once; the server would take a repeated one for the same, but waiting people click again.
function sendOnce(form) {
  if (form.method !== "post") return;
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    form.classList.add("sending");
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; form.classList.remove("sending"); });
}

// Pages refresh states by themselves; not while nobody looks.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.hasAttribute("data-refreshing")) event.preventDefault();
});
