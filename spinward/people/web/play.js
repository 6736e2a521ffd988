// The page to play an environment: takes keys, sends steps one after another, draws the answers.
"use strict";

const at = (id) => document.getElementById(id);
const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };
const game = { now: null, held: [], tapped: [], last: 0, paused: true, fps: 0, busy: false, timer: 0, half: false };

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
    pause("The server does not answer. Press Enter to try again.");
    return null;
  }
  if (answer.status === 401) {
    location.replace("/enter");
    return null;
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  pause(content.error || answer.statusText);
  return answer.status === 409 || answer.status === 400 ? { refused: true } : null;
}

// Asks the server for something, and shows the state that it answers with.
async function ask(path, body = {}) {
  if (game.busy) return false;
  game.busy = true;
  let found = await post(path, body);
  const refused = Boolean(found && found.refused);
  if (refused) {
    const words = at("status").textContent;
    found = await post("state");
    if (found && !found.refused) await show(found);
    say(words, true);
  } else if (found) {
    await show(found);
  }
  game.busy = false;
  return Boolean(found) && !refused;
}

async function show(now) {
  const fresh = !game.now;
  game.now = now;
  if (fresh) {
    game.fps = now.fps || 15;
    game.turns = now.fps === 0;
    buttons(now.controls);
  }
  if (now.frame) {
    const bytes = Uint8Array.from(atob(now.frame), (c) => c.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const screen = at("screen");
    screen.width = picture.width;
    screen.height = picture.height;
    screen.getContext("2d").drawImage(picture, 0, 0);
    screen.classList.toggle("coarse", picture.width < 128);
    screen.setAttribute("aria-label", `The game, step ${now.step}, return ${round(now.score)}`);
  }
  at("score").textContent = now.step === undefined ? "" : `episode ${now.started} · step ${now.step} · return ${round(now.score)}`;
  at("numbers").textContent = `Kept: ${now.kept.episodes} episodes, ${now.kept.steps} steps`;
  at("start").disabled = now.playing && !game.paused;
  at("pause").disabled = !now.playing;
  at("end").disabled = !now.playing;
  at("drop").disabled = now.step === undefined;
  if (!now.playing) {
    game.paused = true;
    const what = now.result ? `The episode is ${now.result}. ` : "";
    say(`${what}Press Enter to start ${now.started ? "the next" : "an"} episode.`);
  }
}

const round = (x) => Math.round(x * 100) / 100;

// Keys and what they mean.

function buttons(controls) {
  const all = controls.keys.map((k) => [k.key, k.name]);
  controls.axes.forEach(([less, more], i) => all.push([less, `number ${i + 1}: less`], [more, `number ${i + 1}: more`]));
  for (const [key, name] of all) {
    const button = document.createElement("button");
    button.dataset.key = key;
    button.append(`${name} `);
    const sign = document.createElement("kbd");
    sign.textContent = SIGNS[key] || key;
    button.append(sign);
    button.addEventListener("pointerdown", () => press(key));
    for (const event of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(event, () => release(key));
    button.addEventListener("click", (event) => {
      if (event.detail === 0) tap(key); // by keyboard or by a screen reader
    });
    at("actions").append(button);
  }
  if (controls.axes.length) {
    const help = document.createElement("p");
    help.className = "who";
    help.textContent = "Shift: half as much.";
    at("actions").append(help);
  }
}

const means = (key) => game.now && [...game.now.controls.keys.map((k) => k.key), ...game.now.controls.axes.flat()].includes(key);

function press(key) {
  if (!game.held.includes(key)) game.held.push(key);
  if (!game.tapped.includes(key)) game.tapped.push(key);
  if (game.paused) step();
}

function release(key) {
  game.held = game.held.filter((k) => k !== key);
}

function tap(key) {
  press(key);
  release(key);
}

// The action of the keys that are held, or were pressed since the last step.
function action() {
  const { keys, axes, idle, reach } = game.now.controls;
  const pressed = [...game.tapped.filter((k) => !game.held.includes(k)), ...game.held];
  game.tapped = [];
  if (axes.length) {
    const size = game.half ? reach / 2 : reach;
    return axes.map(([less, more]) => size * (pressed.includes(more) - pressed.includes(less)));
  }
  const newest = pressed.map((key) => keys.find((k) => k.key === key)).filter(Boolean).pop();
  const chosen = newest ? newest.action : idle === null ? game.last : idle;
  game.last = chosen;
  return chosen;
}

// Playing

async function step() {
  if (game.busy || !game.now || !game.now.playing) return;
  await ask("step", { episode: game.now.started, step: game.now.step, action: action() });
}

async function tick() {
  if (game.paused) return;
  const began = performance.now();
  await step();
  if (!game.paused) game.timer = setTimeout(tick, Math.max(0, 1000 / game.fps - (performance.now() - began)));
}

async function start() {
  if (game.busy) return;
  if (!game.now && !(await ask("state"))) return;
  if (!game.now.playing && !(await ask("start", { started: game.now.started }))) return;
  game.last = 0;
  if (game.turns) {
    say("Each key takes one step.");
    return;
  }
  game.paused = false;
  at("start").disabled = true;
  say("");
  clearTimeout(game.timer);
  tick();
}

function pause(words = "Paused. Each key takes one step; Enter goes on.") {
  game.paused = true;
  game.held = [];
  clearTimeout(game.timer);
  at("start").disabled = false;
  say(words, words.startsWith("The server") || !words.startsWith("Paused"));
}

async function settled(path) {
  pause();
  while (game.busy) await new Promise((done) => setTimeout(done, 10));
  if (game.now) await ask(path, { episode: game.now.started });
}

function speed(factor) {
  game.fps = Math.min(60, Math.max(1, game.fps * factor));
  if (game.now && !game.turns) say(`${Math.round(game.fps)} steps a second.`);
}

const KEYS = {
  Enter: start, Escape: () => pause(), End: () => settled("end"), Backspace: () => settled("drop"),
  "+": () => speed(1.25), "-": () => speed(0.8),
};

addEventListener("keydown", (event) => {
  game.half = event.shiftKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const onButton = event.target instanceof HTMLButtonElement && (key === " " || key === "Enter");
  if (event.ctrlKey || event.metaKey || event.altKey || onButton) return;
  if (!KEYS[key] && !means(key)) return;
  event.preventDefault();
  if (event.repeat) return;
  if (KEYS[key]) KEYS[key]();
  else press(key);
});
addEventListener("keyup", (event) => {
  game.half = event.shiftKey;
  release(event.key.length === 1 ? event.key.toLowerCase() : event.key);
});
addEventListener("blur", () => {
  game.held = [];
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && !game.paused) pause();
});
const act = { start, pause: () => pause(), end: () => settled("end"), drop: () => settled("drop") };
act.slower = () => speed(0.8);
act.faster = () => speed(1.25);
for (const [id, what] of Object.entries(act)) at(id).addEventListener("click", what);
at("leave").addEventListener("click", async () => {
  pause();
  await post("leave");
  location.replace("/enter");
});
ask("state").then((found) => {
  if (found && game.now.playing) pause("Paused in the middle of an episode. Enter goes on.");
});
