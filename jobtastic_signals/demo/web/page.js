import "/task/progress.js";

const HOW = {
  started: "started a run",
  joined: "joined the run in progress",
  cached: "answered from the cache",
};

const find = (id) => document.getElementById(id);
const progress = document.querySelector("jobtastic-progress");

progress.texts = { success: "The report is ready." };
find("make").addEventListener("click", make);
find("forget")?.addEventListener("click", forget);
progress.addEventListener("jobtastic-progress", tally);
progress.addEventListener("jobtastic-success", ({ detail }) => {
  find("result").textContent = detail.result;
  find("result").hidden = false;
  tally();
});
document.addEventListener("visibilitychange", () => document.hidden || tally());
tally();

async function make() {
  const before = performance.now();
  const answer = await post("/report");
  if (!answer) return;
  note(HOW[answer.how], answer.how, answer.id, performance.now() - before);
  show(answer);
  tally();
}

async function forget() {
  const answer = await post("/forget");
  if (!answer) return;
  note(answer.forgotten ? "forgot the result: the next click starts a run" : "there is no result to forget");
}

/** The element goes on if it shows this task already. */
function show({ id, status }) {
  if (progress.task?.id !== id) find("result").hidden = true;
  find("idle").hidden = true;
  progress.hidden = false;
  progress.setAttribute("src", status);
}

async function tally() {
  const answer = await ask("/tally");
  if (!answer) return;
  find("clicks").replaceChildren(...counted(answer.clicks, "click"));
  find("runs").replaceChildren(...counted(answer.runs, "run"));
}

function counted(number, what) {
  const bold = document.createElement("b");
  bold.textContent = number;
  return [bold, ` ${what}${number === 1 ? "" : "s"}`];
}

function note(what, how = "note", id = "", milliseconds = null) {
  const entry = document.createElement("li");
  entry.className = how;
  entry.append(piece("what", what));
  if (id) {
    const chip = piece("id", id.slice(0, 8));
    chip.title = `Task ${id}`;
    // One colour for each run; no red, which would look like an error.
    chip.style.setProperty("--hue", 100 + (Number.parseInt(id.slice(0, 6), 16) % 220));
    entry.append(chip);
  }
  if (milliseconds !== null) entry.append(piece("took", `${Math.max(1, Math.round(milliseconds))} ms`));
  find("log").prepend(entry);
}

function piece(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

async function post(path) {
  const answer = await ask(path, { method: "POST" });
  if (!answer) note("no answer: is the demo still running?", "trouble");
  return answer;
}

/** Returns the answer of the server, or null. */
async function ask(path, options) {
  try {
    const reply = await fetch(path, options);
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}
