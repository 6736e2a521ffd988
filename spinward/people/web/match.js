// The page to play a game for two: draws the board, sends moves, shows what the agent searched.
"use strict";

const at = (id) => document.getElementById(id);
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const PIECES = { K: "♔", Q: "♕", R: "♖", B: "♗", N: "♘", P: "♙", k: "♚", q: "♛", r: "♜", b: "♝", n: "♞", p: "♟" };
const SIDES = { x: "the first player's stone", o: "the second player's stone", ".": "empty" };
const match = { now: null, busy: false, from: "" };

function make(kind, text = "", className = "") {
  const element = document.createElement(kind);
  element.textContent = text;
  element.className = className;
  return element;
}

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

async function post(path, body = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    say("The server does not answer.", true);
    return null;
  }
  if (answer.status === 401) {
    location.replace("/enter");
    return null;
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  say(content.error || answer.statusText, true);
  return null;
}

// Asks the server for something, and shows the state that it answers with.
async function ask(path, body = {}) {
  if (match.busy) return;
  match.busy = true;
  if (path === "move" || path === "new") say("It thinks …");
  const now = await post(path, body);
  match.busy = false;
  if (!now) return;
  match.now = now;
  match.from = "";
  show();
}

// The moves that are named by a cell (b2), by a column (d), or by two cells (e2e4).
const kinds = { cell: /^[a-z]\d+$/, file: /^[a-z]$/, two: /^([a-z]\d+)([a-z]\d+)([a-z]?)$/ };

// What a click on a cell means: a move, the start of one, or nothing.
function meaning(cell) {
  const { legal } = match.now;
  if (legal.includes(cell)) return { move: cell };
  if (legal.includes(cell[0])) return { move: cell[0] };
  const ends = legal.map((name) => kinds.two.exec(name)).filter(Boolean);
  const to = ends.filter((m) => m[1] === match.from && m[2] === cell).sort((a, b) => a[3].length - b[3].length);
  if (to.length) return { move: to[0][0] };
  return ends.some((m) => m[1] === cell) ? { from: cell } : {};
}

function act(cell) {
  if (match.busy) return;
  const what = meaning(cell);
  if (what.move) send(what.move);
  else if (what.from) {
    match.from = what.from;
    show();
    say(`${cell}: to where?`);
  }
}

const send = (move) => ask("move", { game: match.now.game, ply: match.now.ply, move });

function show() {
  const { now } = match;
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.cell : "";
  board(now, focused);
  others(now);
  view(now);
  at("side").textContent = `you are the ${now.second ? "second" : "first"} player`;
  at("numbers").textContent = now.played.length ? `Moves: ${now.played.join(" ")}` : "";
  at("hint").disabled = now.over;
  if (now.over) say(now.result > 0 ? "You win." : now.result < 0 ? "The agent wins." : "A draw.");
  else say(now.ply && now.whose === "agent" ? `It played ${now.played[now.played.length - 1]}. Your move.` : "Your move.");
}

function board(now, focused) {
  const rows = now.signs.length;
  const last = now.played.length ? now.played[now.played.length - 1] : "";
  const grid = at("board");
  grid.replaceChildren();
  grid.classList.toggle("many", now.signs[0].length > 9);
  const stones = now.signs.flat().every((s) => ".xo".includes(s));
  now.signs.forEach((signs, r) => {
    const row = make("div", "", "row");
    if (now.slanted) row.style.setProperty("--shift", r);
    row.append(make("span", String(rows - r), "edge"));
    signs.forEach((sign, c) => row.append(cellOf(`${LETTERS[c]}${rows - r}`, sign, stones, last, r, c)));
    grid.append(row);
  });
  const files = make("div", "", "row");
  if (now.slanted) files.style.setProperty("--shift", rows - 1);
  files.append(make("span", "", "edge"));
  now.signs[0].forEach((_, c) => files.append(make("span", LETTERS[c], "edge file")));
  grid.append(files);
  const again = focused && grid.querySelector(`[data-cell="${focused}"]`);
  if (again) again.focus();
}

function cellOf(name, sign, stones, last, r, c) {
  const cell = make("button", stones || sign === "." ? "" : PIECES[sign], "cell");
  const what = meaning(name);
  const words = stones ? SIDES[sign] : sign === "." ? "empty" : `${sign === sign.toUpperCase() ? "white" : "black"} ${sign.toLowerCase()}`;
  cell.dataset.cell = name;
  cell.dataset.row = r;
  cell.dataset.column = c;
  if (stones && sign !== ".") cell.classList.add(sign === "x" ? "one" : "two");
  if (!stones && (r + c) % 2) cell.classList.add("dark");
  if (isLast(name, last, r, c)) cell.classList.add("last");
  if (name === match.from) cell.classList.add("from");
  const open = !match.now.over && Boolean(what.move || what.from);
  if (open) cell.classList.add("open");
  cell.setAttribute("aria-label", `${name}, ${words}${open ? ", a legal move" : ""}`);
  cell.setAttribute("aria-disabled", String(!open));
  cell.tabIndex = open ? 0 : -1;
  if (open) cell.addEventListener("click", () => act(name));
  return cell;
}

// Whether the last move was to a cell, or from it, or its stone fell there.
function isLast(name, last, r, c) {
  if (!kinds.file.test(last)) return last.endsWith(name) || (kinds.two.test(last) && last.startsWith(name));
  return last === LETTERS[c] && match.now.signs.findIndex((row) => row[c] !== ".") === r;
}

function others(now) {
  const named = now.legal.filter((name) => !Object.values(kinds).some((kind) => kind.test(name)) || (kinds.two.exec(name) || [])[3]);
  at("others").replaceChildren(
    ...named.map((name) => {
      const button = make("button", name);
      button.dataset.move = name;
      button.addEventListener("click", () => send(name));
      return button;
    }),
  );
}

function view(now) {
  const table = at("view");
  table.replaceChildren();
  at("title").textContent = "";
  if (!now.view) return;
  const yours = now.whose === "you";
  const worth = now.view.value.toFixed(2);
  at("title").textContent = yours ? `In your place it sees ${worth} for you` : `Before its move it saw ${worth} for itself`;
  const total = now.view.moves.reduce((sum, [, , visits]) => sum + visits, 0) || 1;
  const head = make("tr");
  for (const word of ["move", "policy", "visits", ""]) head.append(make("th", word));
  table.append(head);
  for (const [name, share, visits] of now.view.moves.slice(0, 8)) {
    const row = make("tr");
    row.append(make("td", name), make("td", `${Math.round(100 * share)} %`), make("td", `${visits} (${Math.round((100 * visits) / total)} %)`));
    const bar = document.createElement("progress");
    bar.max = total;
    bar.value = visits;
    bar.setAttribute("aria-hidden", "true");
    const holder = make("td", "", "bar");
    holder.append(bar);
    row.append(holder);
    table.append(row);
  }
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
at("board").addEventListener("keydown", (event) => {
  const by = ARROWS[event.key];
  const { row, column: file } = event.target.dataset;
  if (!by || row === undefined) return;
  event.preventDefault();
  const next = at("board").querySelector(`[data-row="${Number(row) + by[0]}"][data-column="${Number(file) + by[1]}"]`);
  if (next) next.focus();
});

const again = (second) => match.now && ask("new", { game: match.now.game, second });
at("first").addEventListener("click", () => again(false));
at("second").addEventListener("click", () => again(true));
at("hint").addEventListener("click", () => match.now && ask("hint", { game: match.now.game }));
at("leave").addEventListener("click", async () => {
  await post("leave");
  location.replace("/enter");
});
ask("state");
