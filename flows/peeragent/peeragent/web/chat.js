"use strict";
// What comes from models is text: it is set as text, never as markup.

const BASE = document.currentScript.src.replace(/\/chat\/chat\.js.*$/, "");
// The service says where its routes are.
const API = fetch(BASE + "/").then((answer) => answer.json()).then((told) => BASE + told.api_prefix + "/agent");
const EXAMPLES = [
  "Write a Python function that reverses a string",
  "What is machine learning?",
  "Our sales dropped 20% this quarter",
  "Build a problem tree: our delivery costs are rising",
  "Translate to Spanish: Good morning, my friend",
];
const at = (id) => document.getElementById(id);
const state = { session: "", questions: [], busy: false };

function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  state.session = "web-" + Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
  state.questions = [];
  at("session").textContent = state.session.slice(0, 12) + "…";
  at("session").title = state.session;
  at("talk").replaceChildren();
  sessionStorage.setItem("session", state.session);
}

function say(name) {
  const article = make("article", null, name);
  at("talk").append(article);
  article.scrollIntoView({ block: "end" });
  return article;
}

function headers() {
  const found = { "Content-Type": "application/json" };
  const key = at("key").value.trim();
  if (key) found["Authorization"] = "Bearer " + key;
  return found;
}

async function refused(article, answer) {
  let told = {};
  try { told = await answer.json(); } catch { /* no JSON: the status has to do */ }
  const detail = told.detail || told;
  let why = Array.isArray(detail) ? detail.map((each) => each.msg).join("; ") : detail.error;
  if (answer.status === 429) why += " Try again in " + answer.headers.get("Retry-After") + " s.";
  article.classList.add("error");
  article.append(make("p", why || "HTTP " + answer.status));
}

function list(items) {
  const found = make("ul");
  for (const item of items) found.append(make("li", item));
  return found;
}

function tree(found) {
  const box = make("div", null, "tree");
  box.append(make("p", found.problem_type + ": " + found.main_problem, "phase"));
  const causes = make("ul");
  for (const each of found.root_causes) {
    const item = make("li", each.cause);
    item.append(list(each.sub_causes));
    causes.append(item);
  }
  box.append(causes);
  return box;
}

function show(article, result) {
  const data = result.data || {};
  if (result.type === "questions") {
    state.questions = data.questions;
    if (data.feedback) article.append(make("p", data.feedback, "feedback"));
    article.append(make("p", data.phase_emoji + " Round " + data.round_number + "/3", "phase"), list(data.questions));
    at("text").placeholder = "Your answer to all of these";
  } else if (result.type === "full_analysis" || result.type === "diagnosis") {
    const found = data.diagnosis || data;
    article.append(make("p", "Urgency: " + found.urgency_level, "phase " + found.urgency_level));
    article.append(make("p", "You said: " + found.customer_stated_problem));
    article.append(make("p", "The problem: " + found.identified_business_problem));
    article.append(make("p", "Hidden risk: " + found.hidden_root_risk));
    if (data.problem_tree) article.append(tree(data.problem_tree));
  } else if (result.type === "problem_tree") {
    article.append(tree(data));
  } else if (result.type === "code") {
    article.append(make("small", data.language), make("pre", data.code), make("p", data.explanation));
  } else if (result.type === "content") {
    article.append(make("p", data.content));
    if (data.sources && data.sources.length) article.append(list(data.sources));
  } else {
    for (const [name, value] of Object.entries(data)) {
      if (name === "type" || value === "" || value === null) continue;
      article.append(make("small", name.replaceAll("_", " ")));
      article.append(typeof value === "string" ? make("p", value) : make("pre", JSON.stringify(value, null, 2)));
    }
  }
  if (result.model && result.model.scripted) article.append(make("small", "scripted: no key of a provider is set"));
}

async function post(article, path, body) {
  const answer = await fetch((await API) + path, { method: "POST", headers: headers(), body: JSON.stringify(body) });
  if (!answer.ok) return refused(article, answer);
  const done = await answer.json();
  article.prepend(make("small", done.agent_type));
  show(article, { ...done.result, model: done.model });
}

async function stream(article, body) {
  const answer = await fetch((await API) + "/execute/stream", { method: "POST", headers: headers(), body: JSON.stringify(body) });
  if (!answer.ok) return refused(article, answer);
  const so_far = make("p");
  article.append(so_far);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    rest += value.replaceAll("\r\n", "\n");
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const line = block.split("\n").find((each) => each.startsWith("data:"));
      if (!line) continue;
      const event = JSON.parse(line.slice(5));
      if (event.event === "classification") article.prepend(make("small", event.agent));
      else if (event.restart) so_far.textContent = "";
      else if (event.content) so_far.textContent += event.content;
      else if (event.error) { article.classList.add("error"); article.append(make("p", event.error)); }
      else if (event.done) { so_far.remove(); show(article, event.result || {}); }
      article.scrollIntoView({ block: "end" });
    }
  }
}

async function send(text) {
  if (state.busy || !text.trim()) return;
  state.busy = at("send").disabled = true;
  say("mine").textContent = text;
  const article = say("theirs");
  try {
    if (state.questions.length) {
      const answers = Object.fromEntries(state.questions.map((each) => [each, text]));
      state.questions = [];
      at("text").placeholder = "What shall be done?";
      await post(article, "/business/continue", { session_id: state.session, answers });
    } else if (at("agent").value) {
      await post(article, "/execute/direct/" + at("agent").value, { task: text, session_id: state.session });
    } else {
      await stream(article, { task: text, session_id: state.session });
    }
  } catch (error) {
    article.classList.add("error");
    article.append(make("p", "The service does not answer: " + error.message));
  } finally {
    state.busy = at("send").disabled = false;
    article.scrollIntoView({ block: "end" });
  }
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value;
  at("text").value = "";
  send(text);
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); at("ask").requestSubmit(); }
});
at("new").addEventListener("click", newSession);
for (const each of EXAMPLES) {
  const button = make("button", each);
  button.type = "button";
  button.addEventListener("click", () => send(each));
  at("examples").append(button);
}
newSession();
