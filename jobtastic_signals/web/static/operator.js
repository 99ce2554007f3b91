/**
 * Keeps the page for operators up to date, and lets those release and forget who may.
 *
 * The page is whole without it. It reads `rows.json` two seconds after each answer; later if an answer takes long, and
 * not in a hidden tab. Text from outside is only ever set as text.
 */

const INTERVAL = 2000;
/** The part of the time in which the server may be busy with one tab: a fifth. */
const PART = 4;
const LONGEST = 30000;
/** How long a message stays that asks for nothing. */
const SAID_FOR = 10000;

const QUESTIONS = {
  release: [
    ({ shown }) => `Release the claim of ${shown.task ?? "this task"}?`,
    "A run that goes on is not stopped. The next identical call starts another one, beside it.",
  ],
  forget: [
    ({ shown }) => `Forget the result of ${shown.task ?? "this task"}?`,
    "The next identical call runs again.",
  ],
};
const DONE = { release: "The claim was released.", forget: "The result was forgotten." };
const NOT_DONE = {
  release: "There was no such claim any more. Its run may have begun or ended.",
  forget: "There was no such result any more.",
};
const COUNTED = ["stats", "forecast"];
const TABLES = ["in_flight", "results", ...COUNTED];

/** What the page is in: a page of its own, or a shadow root in a page of somebody else. */
const root = document.getElementById("jobtastic-operator")?.shadowRoot ?? document;
const find = (id) => root.getElementById(id);
const live = root.querySelector(".live");
let timer = 0;
let saying = 0;
let paused = false;
let asking = null;
let failures = 0;

live.hidden = false;
find("updated").textContent = "Connecting";
find("pause").addEventListener("click", pause);
find("task").addEventListener("change", ({ target }) => target.form.requestSubmit());
document.addEventListener("visibilitychange", () => (document.hidden ? stop() : poll()));
poll();

/** Reads once, and then again after a while. */
async function poll() {
  stop();
  if (paused || document.hidden) return;
  const mine = (asking = new AbortController());
  const before = performance.now();
  const wait = await read(mine.signal);
  if (mine !== asking || wait === null) return;
  timer = setTimeout(poll, Math.max(wait, PART * (performance.now() - before)));
}

function stop() {
  clearTimeout(timer);
  asking?.abort();
  asking = null;
}

/** Returns the milliseconds until the next time, or null if there is none. */
async function read(signal) {
  let reply;
  try {
    reply = await fetch(`rows.json${location.search}`, { signal, headers: { Accept: "application/json" } });
    if (reply.ok && isJson(reply)) {
      show(await reply.json());
      return INTERVAL;
    }
  } catch (error) {
    if (signal.aborted) return null;
    console.debug(error);
  }
  failures += 1;
  const isForbidden = reply !== undefined && (reply.status === 401 || reply.status === 403 || reply.ok);
  live.classList.add("failing");
  if (isForbidden) {
    say("You may not see this page any more. Reload it to sign in.", true);
    find("updated").textContent = "Stopped";
    return null;
  }
  if (failures === 1) say("The site does not answer. What is shown is old. Trying again.", true);
  return Math.min(INTERVAL * 2 ** failures, LONGEST);
}

function isJson(reply) {
  return reply.headers.get("Content-Type")?.startsWith("application/json") ?? false;
}

function show(view) {
  if (failures) say("The site answers again.");
  failures = 0;
  live.classList.remove("failing");
  find("updated").textContent = `Updated ${new Date().toLocaleTimeString()}`;
  showNotices(view.notices);
  showChoices(view);
  for (const name of COUNTED) {
    setText(find(`${name}-summary`), view[name].summary);
    find(name).closest("section").hidden = !view[name].rows.length;
  }
  for (const name of TABLES) showTable(name, view[name]);
}

/** A text that stays is not written again, so it is spoken once. */
function showNotices(notices) {
  const now = [...find("notices").children].map(({ textContent }) => textContent);
  if (JSON.stringify(now) === JSON.stringify(notices)) return;
  find("notices").replaceChildren(...notices.map((text) => made("p", { textContent: text })));
}

function showChoices({ states, tasks }) {
  let all = 0;
  for (const [state, number] of Object.entries(states)) {
    all += number;
    setText(root.querySelector(`a[data-state="${state}"] b`), number.toLocaleString("en"));
  }
  setText(root.querySelector('a[data-state=""] b'), all.toLocaleString("en"));
  const select = find("task");
  const now = [...select.options].slice(1).map(({ value }) => value);
  if (root.activeElement === select || JSON.stringify(now) === JSON.stringify(tasks.map(({ name }) => name))) return;
  const chosen = select.value;
  select.length = 1;
  for (const { name, shown } of tasks) select.append(made("option", { value: name, textContent: shown }));
  select.value = chosen;
}

/** Rows that stay keep their elements, and so the focus and what is selected. */
function showTable(name, { rows, left_out: leftOut }) {
  const body = find(name).querySelector("tbody");
  const columns = [...find(name).querySelectorAll("th")].map(({ dataset, textContent }) => ({ ...dataset, title: textContent }));
  const focused = body.contains(root.activeElement) ? root.activeElement : null;
  const before = new Map([...body.rows].filter(({ facts }) => facts).map((line) => [identity(line.facts), line]));
  const lines = rows.map((row) => {
    const line = before.get(identity(row)) ?? newLine(columns);
    before.delete(identity(row));
    line.facts = row;
    columns.forEach((column, number) => fill(line.cells[number], column, row));
    return line;
  });
  for (const line of [...body.rows]) if (!lines.includes(line)) line.remove();
  // A line that is moved loses the focus, so those that are in order stay.
  lines.forEach((line, number) => {
    if (body.rows[number] !== line) body.insertBefore(line, body.rows[number] ?? null);
  });
  setText(find(name).querySelector(".more"), leftOut ? `and ${leftOut.toLocaleString("en")} more` : "");
  find(name).querySelector(".empty").hidden = rows.length > 0;
  find(name).querySelector("table").hidden = !rows.length;
  if (focused && root.activeElement !== focused) {
    (focused.isConnected ? focused : find(`${name}-title`)).focus({ preventScroll: true });
  }
}

function identity({ key, owner, task }) {
  return JSON.stringify([key ?? task, owner]);
}

function newLine(columns) {
  const line = made("tr", { role: "row" });
  for (const { kind, action, title } of columns) {
    const cell = made("td", { role: "cell", className: action ? "action" : kind });
    cell.dataset.label = title;
    if (action) cell.append(actionButton(line, action, title));
    else if (kind === "id") cell.append(copyButton());
    else if (kind === "state") cell.append(made("span"));
    line.append(cell);
  }
  return line;
}

function fill(cell, { name, kind, action }, row) {
  const text = row.shown[name] ?? "";
  if (action) {
    cell.firstChild.setAttribute("aria-label", `${cell.firstChild.textContent}: ${row.shown.task} ${row.shown.key}`);
  } else if (kind === "id") {
    cell.firstChild.dataset.full = cell.firstChild.title = row[name];
    setText(cell.firstChild, text);
  } else if (kind === "state") {
    cell.firstChild.className = `state ${row.state}`;
    setText(cell.firstChild, text);
  } else if (kind === "progress") {
    fillProgress(cell, row);
  } else {
    setText(cell, text);
  }
}

function fillProgress(cell, { progress, shown }) {
  if (!progress) {
    cell.replaceChildren();
    return;
  }
  if (!cell.firstChild) {
    const bar = made("progress", { max: 100, hidden: true });
    bar.setAttribute("aria-hidden", "true"); // The numbers beside it say the same.
    cell.append(bar, made("span", { className: "numbers" }), made("span", { className: "message" }));
  }
  const [bar, numbers, message] = cell.children;
  bar.hidden = progress.percent === null;
  bar.value = progress.percent ?? 0;
  setText(numbers, shown.progress ?? "");
  setText(message, shown.message ?? "");
}

function copyButton() {
  const button = made("button", { type: "button", className: "copy" });
  button.addEventListener("click", () => copy(button.dataset.full));
  return button;
}

/** Browsers offer the clipboard only to sites with HTTPS. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = made("textarea", { value: text, readOnly: true, className: "spoken" });
    const before = root.activeElement;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    before.focus({ preventScroll: true });
  }
  say(`Copied ${text}`);
}

function actionButton(line, action) {
  const button = made("button", { type: "button", textContent: action === "release" ? "Release" : "Forget" });
  button.addEventListener("click", () => ask(line, action, button));
  return button;
}

function ask(line, action, button) {
  const dialog = find("ask");
  const row = line.facts;
  const [title, text] = QUESTIONS[action];
  find("ask-title").textContent = title(row);
  find("ask-text").textContent = text;
  dialog.querySelector(".yes").textContent = button.textContent;
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "yes" && change(action, row);
  dialog.showModal();
}

async function change(action, { key, owner, state }) {
  const parameters = new URLSearchParams({ key, owner, state });
  let reply;
  try {
    reply = await fetch(`${action}?${parameters}`, { method: "POST", headers: { "X-Jobtastic": action }, body: token() });
    const answer = await reply.json();
    if (reply.ok) say(answer.done ? DONE[action] : NOT_DONE[action]);
    else say(`Nothing was changed: ${answer.error.message}.`, true);
  } catch {
    say("Nothing is known to have changed: the site did not answer.", true);
  }
  if (paused) read(new AbortController().signal);
  else poll();
}

/** Returns what Django's admin asks for with each POST; undefined elsewhere. */
function token() {
  const field = document.querySelector("#jobtastic-operator ~ [name=csrfmiddlewaretoken]");
  return field ? new URLSearchParams({ [field.name]: field.value }) : undefined;
}

function pause({ target }) {
  paused = !paused;
  live.classList.toggle("paused", paused);
  target.textContent = paused ? "Go on" : "Pause";
  if (paused) stop();
  else poll();
}

/** For everybody, and for a screen reader as well. A failure stays until there is news. */
function say(text, isFailure = false) {
  clearTimeout(saying);
  if (text && !isFailure) saying = setTimeout(say, SAID_FOR, "");
  find("status").classList.toggle("trouble", isFailure);
  find("status").textContent = text;
}

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function made(name, { role, ...properties } = {}) {
  const element = Object.assign(document.createElement(name), properties);
  if (role) element.setAttribute("role", role);
  return element;
}
