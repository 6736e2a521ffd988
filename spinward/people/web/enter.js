// Signs in. The secret of a link is after the "#", which browsers do not send and servers do not log.
"use strict";

const message = document.getElementById("message");

async function begin(body) {
  let answer;
  try {
    answer = await fetch("/api/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    message.textContent = "The server does not answer.";
    return;
  }
  if (answer.ok) {
    location.replace("/");
    return;
  }
  message.textContent = (await answer.json()).error;
}

function fromLink() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", "/enter");
  begin({ token });
}

const form = document.getElementById("form");
if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = (id) => document.getElementById(id).value;
    begin({ name: value("name"), password: value("password") });
  });
}
addEventListener("hashchange", fromLink);
fromLink();
