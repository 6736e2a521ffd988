// The labelling page: shows a question, plays its clips together, sends the answer.
"use strict";

const QUICK_MS = 300; // answers sooner than this after a question appears are double presses
const PAUSE_MS = 600; // on the last frame of a clip
const POLL_MS = 2000; // while there is no question
const RENEW_MS = 45000; // the question stays reserved while it is shown
const RETRY_MS = [300, 1000, 2000, 4000];

const at = (id) => document.getElementById(id);
const state = { question: null, shownAt: 0, order: [], clips: [], busy: false, began: 0, timer: 0, turn: 0 };

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Sends a request until the server has answered. An answer has a name, `act`, so that sending it
// twice stores it once.
async function post(path, body = {}) {
  for (let attempt = 0; ; attempt++) {
    let answer;
    try {
      answer = await fetch(`/api/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      say("The server does not answer. Trying again; nothing is lost.", true);
      await sleep(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      continue;
    }
    if (answer.status === 401) {
      location.replace("/enter");
      return new Promise(() => {});
    }
    if (answer.status >= 500 || answer.status === 429) {
      await sleep(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      continue;
    }
    const found = await answer.json().catch(() => ({}));
    return answer.ok ? found : { refused: found.error || answer.statusText };
  }
}

// Clips: one picture holds all frames of a clip, row by row.

async function clip(item, name) {
  const canvas = document.createElement("canvas");
  const shape = item.shape || { frames: 1, width: 320, height: 200, columns: 1, fps: 15 };
  canvas.width = shape.width;
  canvas.height = shape.height;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${name} clip, ${shape.frames} frames`);
  const picture = new Image();
  picture.src = `/api/picture/${item.id}`;
  const loaded = picture.decode().then(
    () => ({ canvas, shape, picture }),
    () => {
      const pen = canvas.getContext("2d");
      pen.font = "16px system-ui";
      pen.fillText("This clip has no picture any more.", 10, 40);
      return null;
    },
  );
  return { canvas, loaded };
}

function draw(now) {
  for (const { canvas, shape, picture } of state.clips) {
    const length = (shape.frames * 1000) / shape.fps + PAUSE_MS;
    const time = (now - state.began) % length;
    const frame = Math.min(Math.floor((time * shape.fps) / 1000), shape.frames - 1);
    if (canvas.shown === frame) continue;
    canvas.shown = frame;
    const x = (frame % shape.columns) * shape.width;
    const y = Math.floor(frame / shape.columns) * shape.height;
    const size = [shape.width, shape.height];
    canvas.getContext("2d").drawImage(picture, x, y, ...size, 0, 0, ...size);
  }
  requestAnimationFrame(draw);
}

function replay() {
  state.began = performance.now();
}

// Questions

async function next() {
  clearTimeout(state.timer);
  const turn = ++state.turn; // an answer may be given while an older request is under way
  const found = await post("next");
  if (turn !== state.turn) return;
  if (found.refused) {
    say(found.refused, true);
    return;
  }
  progress(found.progress);
  const question = found.question;
  if (!question) {
    state.question = null;
    at("items").replaceChildren();
    at("prompt").hidden = true;
    enable(false);
    const over = found.progress.state === "finished";
    say(over ? "All done, thank you. The run has ended." : "No question at the moment. More come as the run goes on.");
    state.timer = setTimeout(next, POLL_MS);
    return;
  }
  if (!state.question || state.question.id !== question.id) await show(question, turn);
  if (turn !== state.turn) return;
  state.timer = setTimeout(next, RENEW_MS);
}

async function show(question, turn) {
  state.question = null; // there is nothing to answer until the question is in sight
  state.clips = [];
  const ranking = question.items.length > 2;
  at("items").classList.toggle("ranking", ranking);
  at("choices").hidden = ranking;
  at("ranking").hidden = !ranking;
  at("prompt").hidden = !question.prompt;
  at("prompt").textContent = question.prompt;
  const cards = await Promise.all(question.items.map((item, i) => card(item, i, ranking)));
  at("items").replaceChildren(...cards.map((c) => c.node));
  const clips = (await Promise.all(cards.map((c) => c.loaded))).filter(Boolean);
  if (turn !== state.turn) return;
  state.question = question;
  state.order = question.items.map((item) => item.id);
  state.clips = clips;
  replay();
  state.shownAt = performance.now();
  enable(true);
  say(ranking ? "Put the best first." : "");
}

async function card(item, i, ranking) {
  const node = document.createElement("article");
  const name = ranking ? `Answer ${i + 1}` : ["Left", "Right"][i];
  node.className = "item";
  node.dataset.id = item.id;
  node.setAttribute("aria-label", name);
  let loaded = null;
  if (!ranking) {
    const title = document.createElement("h2");
    title.textContent = name;
    node.append(title);
  }
  if (item.kind === "text") {
    const text = document.createElement("div");
    text.className = "text";
    text.dir = "auto";
    text.textContent = item.text;
    node.append(text);
  } else {
    const made = await clip(item, name);
    node.append(made.canvas);
    loaded = made.loaded;
  }
  if (ranking) sortable(node, name);
  return { node, loaded };
}

// Ranking: by dragging, by buttons, or with the arrow keys on a card.

function sortable(node, name) {
  node.tabIndex = 0;
  node.draggable = true;
  const moves = document.createElement("div");
  moves.className = "moves";
  for (const [sign, step, words] of [["↑", -1, "better"], ["↓", 1, "worse"]]) {
    const button = document.createElement("button");
    button.textContent = sign;
    button.setAttribute("aria-label", `${name} is ${words}: move`);
    button.addEventListener("click", () => move(node, step));
    moves.append(button);
  }
  node.append(moves);
  node.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    move(node, step);
    node.focus();
  });
  node.addEventListener("dragstart", () => node.classList.add("dragged"));
  node.addEventListener("dragend", () => node.classList.remove("dragged"));
  node.addEventListener("dragover", (event) => {
    event.preventDefault();
    const moving = at("items").querySelector(".dragged");
    if (!moving || moving === node) return;
    const box = node.getBoundingClientRect();
    node[event.clientY < box.top + box.height / 2 ? "before" : "after"](moving);
    reorder();
  });
}

function move(node, step) {
  const other = step < 0 ? node.previousElementSibling : node.nextElementSibling;
  if (!other) return;
  other[step < 0 ? "before" : "after"](node);
  reorder();
  say(`${node.getAttribute("aria-label")} is in place ${state.order.indexOf(Number(node.dataset.id)) + 1} of ${state.order.length}.`);
}

function reorder() {
  state.order = [...at("items").children].map((node) => Number(node.dataset.id));
}

// Answers

const name = () => crypto.randomUUID ? crypto.randomUUID() : [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

function enable(on) {
  for (const id of ["left", "right", "equal", "cannot_tell", "submit"]) at(id).disabled = !on;
}

async function send(body, chosen) {
  const question = state.question;
  if (!question || state.busy || performance.now() - state.shownAt < QUICK_MS) return;
  state.busy = true;
  enable(false);
  for (const node of at("items").children) node.classList.toggle("chosen", chosen.includes(Number(node.dataset.id)));
  const answer = await post("answer", { question: question.id, act: name(), ...body });
  state.busy = false;
  state.question = null;
  await next();
  if (answer.refused) say(`The last answer was not stored: ${answer.refused}`, true);
}

function answer(which) {
  if (!state.question || state.question.items.length > 2) return;
  const ids = state.question.items.map((item) => item.id);
  const better = { left: ids[0], right: ids[1] }[which];
  if (better !== undefined) send({ better }, [better]);
  else send({ answer: which }, which === "equal" ? ids : []);
}

function submit() {
  if (state.question && state.question.items.length > 2) send({ order: state.order }, state.order);
}

async function undo() {
  if (state.busy) return;
  state.busy = true;
  const found = await post("undo", { act: name() });
  state.busy = false;
  state.question = null;
  await next();
  say(found.refused || (found.question ? "Undone. This is the same question again." : "There is nothing to undo."));
}

// Progress

function progress(p) {
  at("bar").max = Math.max(p.budget, 1);
  at("bar").value = Math.min(p.answered, p.budget);
  const parts = [`${p.answered} of ${p.budget} answers, ${p.mine} of them yours`, `${p.waiting} wanted now`];
  if (p.answers_per_minute) parts.push(`${p.answers_per_minute} a minute`, `about ${Math.ceil(p.minutes_left)} minutes left`);
  at("numbers").textContent = parts.join(" · ");
  const points = p.accuracy;
  at("curve").hidden = points.length < 2;
  if (points.length < 2) return;
  const last = points[points.length - 1];
  const x = (i) => (200 * i) / (points.length - 1);
  at("line").setAttribute("points", points.map(([, , y], i) => `${x(i)},${50 - 50 * y}`).join(" "));
  at("curve-text").textContent = `The predictor foretells ${Math.round(100 * last[2])} % of the answers that it has not learned from.`;
}

function help() {
  const shown = at("keys").hidden;
  at("keys").hidden = !shown;
  at("help").setAttribute("aria-expanded", String(shown));
}

const KEYS = {
  ArrowLeft: () => answer("left"), 1: () => answer("left"),
  ArrowRight: () => answer("right"), 2: () => answer("right"),
  ArrowUp: () => answer("equal"), 3: () => answer("equal"),
  ArrowDown: () => answer("cannot_tell"), 4: () => answer("cannot_tell"),
  u: undo, U: undo, Backspace: undo, " ": replay, "?": help, Enter: submit,
};

addEventListener("keydown", (event) => {
  const onButton = event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter");
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || onButton) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const id of ["left", "right", "equal", "cannot_tell"]) at(id).addEventListener("click", () => answer(id));
at("submit").addEventListener("click", submit);
at("undo").addEventListener("click", undo);
at("replay").addEventListener("click", replay);
at("help").addEventListener("click", help);
at("leave").addEventListener("click", async () => {
  await post("leave");
  location.replace("/enter");
});
enable(false);
requestAnimationFrame(draw);
next();
