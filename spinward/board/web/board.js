// Keeps the pages of the board up to date, and signs out. Curves are in chart.js.
"use strict";

const LIST_MS = 5000;
const RUN_MS = 5000;

function say(text, bad = false) {
  const line = document.getElementById("status");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

// The same page as the server has it now. A document made this way runs no scripts.
async function fresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected) {
    location.replace("/enter");
    return null;
  }
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Takes over the rows that have changed; marks and the focus stay where they are.
function updateRows(page) {
  const rows = document.getElementById("rows");
  const newer = page.getElementById("rows");
  if (!rows || !newer) {
    if (Boolean(rows) !== Boolean(newer)) location.reload();
    return;
  }
  const had = new Map([...rows.children].map((row) => [row.id, row]));
  const wanted = [...newer.children].map((row) => {
    const old = had.get(row.id);
    if (!old) return document.importNode(row, true);
    for (let i = 0; i < row.children.length; i++) {
      const [from, to] = [row.children[i], old.children[i]];
      if (!to.classList.contains("pick") && from.innerHTML !== to.innerHTML)
        to.replaceChildren(...document.importNode(from, true).childNodes);
    }
    return old;
  });
  const same = wanted.length === rows.children.length && wanted.every((row, i) => row === rows.children[i]);
  if (same) return;
  const focused = document.activeElement;
  rows.replaceChildren(...wanted);
  if (rows.contains(focused)) focused.focus({ preventScroll: true });
}

function updateParts(page) {
  for (const id of ["facts", "health", "values", "searches", "trials"]) {
    const [to, from] = [document.getElementById(id), page.getElementById(id)];
    if (to && from && to.innerHTML !== from.innerHTML)
      to.replaceChildren(...document.importNode(from, true).childNodes);
  }
}

async function update() {
  if (document.hidden) return;
  try {
    const page = await fresh();
    if (!page) return;
    updateRows(page);
    updateParts(page);
    const who = document.querySelector(".who").firstChild;
    const newer = page.querySelector(".who").firstChild;
    if (who.nodeType === Node.TEXT_NODE && who.data !== newer.data) who.data = newer.data;
    say("");
  } catch {
    say("The server does not answer. This page shows what was known before.", true);
  }
}

document.getElementById("leave").addEventListener("click", async () => {
  const headers = { "content-type": "application/json" };
  await fetch("/api/leave", { method: "POST", headers, body: "{}" });
  location.replace("/enter");
});
const lists = document.getElementById("runs");
if (lists || document.getElementById("facts")) setInterval(update, lists ? LIST_MS : RUN_MS);
