/**
 * Shows the progress of a task to a user who waits for it:
 *
 *     <script type="module" src="/task/progress.js"></script>
 *     <jobtastic-progress src="/task/.../status/" label="Yearly report"></jobtastic-progress>
 *
 * Attributes
 *   src       the URL of the task's status; a new URL starts anew
 *   stream    read the sibling `events/` (server-sent events), and poll only if that does not work
 *   interval  milliseconds between two polls, 1000 by default; longer while nothing changes
 *   label     the name for assistive technology, "Progress" by default
 *   state     set by the element, for CSS: waiting, progress, success, failure or error
 *
 * Events (they bubble, and cross the borders of shadow trees)
 *   jobtastic-progress  the task waits or runs, and its status changed; `detail` is the task from the server
 *   jobtastic-success   the task succeeded; `detail` is the task, with its `result`
 *   jobtastic-failure   it failed; `detail` is the task, with its error as `result`; `state` may be REVOKED
 *   jobtastic-error     a request failed; `detail` is `{status, retrying}`, with status 0 for no answer
 *
 * Properties
 *   task   the latest status of the task, or null
 *   texts  replaces TEXTS below: `element.texts.success = "Your report is ready."`;
 *          `JobtasticProgress.texts` does for all elements; set it in the script that imports this module
 *
 * Custom properties: --jobtastic-color, --jobtastic-success, --jobtastic-failure, --jobtastic-track,
 * --jobtastic-muted, --jobtastic-height, --jobtastic-radius, --jobtastic-gap.
 *
 * Parts: head, message, percent, track, bar, foot (the time left, or a note that the connection is lost).
 *
 * Needs a browser of 2024 or later. Dark colours follow the page's `color-scheme`.
 */
const TEXTS = {
  locale: "en",
  label: "Progress",
  waiting: "Waiting to start",
  started: "Just started",
  running: "Running",
  retrying: "Waiting to try again",
  estimating: "Estimating the time left",
  remaining: (duration) => `About ${duration} left`,
  ending: "A few seconds left",
  counted: (count) => `${count} so far`,
  countedOf: (count, total) => `${count} of ${total}`,
  success: "Done.",
  failure: "It failed.",
  revoked: "It was cancelled.",
  lost: "Connection lost, trying again",
  error: "The progress cannot be shown.",
};

/** The texts of states without progress. Any other state is "running". */
const STATES = {
  __proto__: null,
  PENDING: "waiting",
  RECEIVED: "waiting",
  STARTED: "started",
  RETRY: "retrying",
};
const ENDS = { __proto__: null, SUCCESS: "success", FAILURE: "failure" };

/** A unit of time: its name, its seconds, and the step to which an amount is rounded. */
const UNITS = [["day", 86_400, 0.5], ["hour", 3600, 0.5], ["minute", 60, 1], ["second", 1, 5]];

const REQUEST_TIMEOUT = 15_000;
const LONGEST_PAUSE = 10_000;
const LONGEST_RETRY = 30_000;
const LONGEST_TIMER = 2 ** 31 - 1;

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host {
    --_color: var(--jobtastic-color, light-dark(#2563eb, #6ba1ff));
    --_height: var(--jobtastic-height, 0.375rem);
    --_radius: var(--jobtastic-radius, 1rem);
    --_towards: 1;
    display: block;
    position: relative;
  }
  :host([hidden]) { display: none; }
  :host(:dir(rtl)) { --_towards: -1; }
  :host([state="success"]) { --_color: var(--jobtastic-success, light-dark(#15803d, #4cc38a)); }
  :host([state="failure"]) { --_color: var(--jobtastic-failure, light-dark(#c81e1e, #ff7a70)); }
  .head { display: flex; align-items: end; }
  .head, .foot { min-block-size: 1lh; }
  .message {
    flex: 1;
    min-inline-size: 0;
    display: -webkit-box;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 2;
    overflow: hidden;
    overflow-wrap: anywhere;
  }
  .message, .percent, .foot { text-align: left; unicode-bidi: plaintext; }
  :host(:dir(rtl)) :is(.message, .foot) { text-align: right; }
  .percent { font-variant-numeric: tabular-nums; white-space: nowrap; }
  .percent:not(:empty) { margin-inline-start: 1em; }
  .foot {
    color: var(--jobtastic-muted, color-mix(in srgb, currentColor 85%, transparent));
    font-size: 0.875em;
  }
  .track {
    block-size: var(--_height);
    margin-block: var(--jobtastic-gap, 0.375em);
    overflow: hidden;
    border-radius: var(--_radius);
    background: var(--jobtastic-track, color-mix(in srgb, currentColor 15%, transparent));
  }
  .bar {
    block-size: 100%;
    inline-size: var(--_fill, 0%);
    border-radius: inherit;
    background: var(--_color);
    transition: inline-size 0.4s ease-out, background-color 0.4s;
  }
  .unknown .bar { inline-size: 30%; animation: wander 1.6s ease-in-out infinite alternate; transition: none; }
  .lost .bar { opacity: 0.5; animation-play-state: paused; }
  .spoken { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); }
  @keyframes wander { to { translate: calc(var(--_towards) * 233.3%); } }
  @media (prefers-reduced-motion: reduce) {
    .bar { transition: none; }
    .unknown .bar { inline-size: 100%; opacity: 0.4; animation: none; }
  }
  @media (forced-colors: active) {
    .track { border: 1px solid CanvasText; }
    .bar { forced-color-adjust: none; background: Highlight; }
  }
`);

export class JobtasticProgress extends HTMLElement {
  static observedAttributes = ["src", "stream", "label"];
  static texts = {};

  texts = {};
  #task = null;
  #seen = "";
  #problem = null;
  #announced = -1;
  #run = null;
  #parts = {};

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    root.append(
      this.#part("head", this.#part("message"), this.#part("percent")),
      this.#part("track", this.#part("bar")),
      this.#part("foot"),
      this.#part("spoken"),
    );
    this.#parts.spoken.role = "status";
    Object.assign(this.#parts.track, { role: "progressbar", ariaValueMin: "0", ariaValueMax: "100" });
  }

  get task() {
    return this.#task;
  }

  connectedCallback() {
    this.#restart();
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "src") {
      this.#task = this.#problem = null;
      this.#seen = "";
      this.#announced = -1;
    }
    this.#restart();
  }

  #part(name, ...children) {
    const element = document.createElement("div");
    element.className = element.part = name;
    element.append(...children);
    this.#parts[name] = element;
    return element;
  }

  #stop() {
    this.#run?.abort();
    this.#run = null;
  }

  #restart() {
    this.#stop();
    // Later, so that several attributes set at once start only once, with the texts of the importing script.
    queueMicrotask(() => {
      if (!this.isConnected || this.#run) return;
      this.#render();
      if (!this.getAttribute("src") || ENDS[this.#task?.status]) return;
      this.#run = new AbortController();
      this.#watch(this.#run.signal);
    });
  }

  async #watch(signal) {
    const source = new URL(this.getAttribute("src"), document.baseURI);
    if (this.hasAttribute("stream")) {
      do await shown(signal);
      while (!signal.aborted && (await this.#listen(eventsOf(source), signal)));
    }
    await this.#poll(source, signal);
  }

  /** Returns whether the stream worked, so that it can be opened again. */
  async #listen(url, signal) {
    const source = new EventSource(url);
    const over = new AbortController();
    const worked = await new Promise((resolve) => {
      const untilThen = { signal: over.signal };
      let opened = false;
      source.onmessage = ({ data }) => {
        opened = this.#take(data);
        if (!opened) resolve(false);
      };
      source.onerror = () => resolve(opened);
      setTimeout(() => opened || resolve(false), REQUEST_TIMEOUT);
      // A browser opens only a few connections to a host, for all its tabs together.
      document.addEventListener("visibilitychange", () => resolve(true), untilThen);
      window.addEventListener("online", () => resolve(true), untilThen);
      signal.addEventListener("abort", () => resolve(false), untilThen);
    });
    source.close();
    over.abort();
    if (worked) await sleep(jittered(1000), signal);
    return worked;
  }

  async #poll(url, signal) {
    let [pause, failures] = [this.#interval, 0];
    for (;;) {
      await shown(signal);
      if (signal.aborted) return;
      const seen = this.#seen;
      const reply = await ask(url, signal);
      if (signal.aborted) return;
      let wait;
      if (reply.ok && this.#take(reply.text)) {
        failures = 0;
        wait = pause = this.#seen === seen ? slower(pause, this.#interval) : this.#interval;
      } else {
        this.#fail(reply.status);
        wait = Math.max(jittered(Math.min(1000 * 2 ** failures++, LONGEST_RETRY)), reply.retryAfter);
      }
      await sleep(wait, signal);
    }
  }

  get #interval() {
    return Math.max(100, Number(this.getAttribute("interval")) || 1000);
  }

  /** Shows `text` if it is the status of a task. Returns whether it is. */
  #take(text) {
    const task = parse(text);
    if (!task) return false;
    const changed = text !== this.#seen;
    this.#task = task;
    this.#seen = text;
    this.#problem = null;
    this.#render();
    if (ENDS[task.status]) this.#stop();
    if (changed) this.#emit(`jobtastic-${ENDS[task.status] ?? "progress"}`, task);
    return true;
  }

  #fail(status) {
    const refused = status >= 400 && status < 500 && status !== 408 && status !== 429;
    this.#problem = refused ? "error" : "lost";
    this.#render();
    if (refused) this.#stop();
    this.#emit("jobtastic-error", { status, retrying: !refused });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #render() {
    const texts = { ...TEXTS, ...JobtasticProgress.texts, ...this.texts };
    const { message, percent, track, bar, foot } = this.#parts;
    const view = describe(this.#task, this.#problem, texts);
    const label = this.getAttribute("label");
    const value = [view.number || view.message, view.foot].filter(Boolean).join(", ");
    this.setAttribute("state", view.state);
    write(message, view.message);
    write(percent, view.number);
    write(foot, view.foot);
    message.title = view.message;
    track.title = view.title;
    track.classList.toggle("unknown", view.fill === null);
    track.classList.toggle("lost", this.#problem === "lost");
    track.ariaLabel = label || texts.label;
    track.ariaValueNow = view.now === null ? null : String(view.now);
    track.ariaValueText = value;
    bar.style.setProperty("--_fill", `${view.fill ?? 0}%`);
    this.#announce(view, label ? `${label}: ${value}` : value);
  }

  /** Announces the start, each quarter and the end to screen readers, each only once. */
  #announce({ state, now }, words) {
    const step = { waiting: 0, progress: 1 + Math.floor(now / 25) }[state] ?? 9;
    if (step <= this.#announced) return;
    this.#announced = step;
    this.#parts.spoken.textContent = words;
  }
}

/** Writes only a text that changed: a user may have selected it, or a screen reader may be reading it. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function describe(task, problem, texts) {
  const [end, progress] = [ENDS[task?.status], task?.result];
  const view = { state: "waiting", message: "", number: "", foot: "", title: "", now: null, fill: null };
  if (problem === "error") return { ...view, state: "error", message: texts.error, fill: 0 };
  if (end === "success") return { ...view, state: end, message: texts.success, now: 100, fill: 100 };
  if (task?.state === "REVOKED") return { ...view, state: end, message: texts.revoked, fill: 100 };
  if (end) return { ...view, state: end, message: texts.failure, fill: 100 };
  if (typeof progress?.progress_percent === "number") Object.assign(view, inProgress(progress, texts));
  else view.message = texts[STATES[task?.status ?? "PENDING"] ?? "running"];
  if (problem === "lost") view.foot = texts.lost;
  return view;
}

function inProgress({ progress_percent, time_remaining, completed, total, message }, texts) {
  // Rounded down, so that 100 % means done.
  const percent = Math.floor(Math.min(Math.max(progress_percent, 0), 100));
  const format = (number, options) => new Intl.NumberFormat(texts.locale, options).format(number);
  const view = { state: "progress", message: String(message || texts[percent ? "running" : "started"]) };
  if (percent === 0 && completed > 0 && typeof total !== "number") {
    return { ...view, message: String(message || texts.running), number: texts.counted(format(completed)) };
  }
  view.number = format(percent / 100, { style: "percent" });
  view.now = view.fill = percent;
  view.foot = timeLeft(time_remaining, percent, texts, format);
  if (completed > 0 && total > 0) view.title = texts.countedOf(format(completed), format(total));
  return view;
}

function timeLeft(seconds, percent, texts, format) {
  if (typeof seconds !== "number" || seconds < 0) return "";
  if (percent === 0) return texts.estimating;
  if (seconds < 5) return texts.ending;
  // In a natural unit, and no more precise than an estimate can be.
  const [unit, size, step] = UNITS.find(([, size]) => seconds > 0.91 * size);
  const amount = Math.round(seconds / size / step) * step;
  return texts.remaining(format(amount, { style: "unit", unit, unitDisplay: "long" }));
}

function parse(text) {
  try {
    const { task } = JSON.parse(text);
    return typeof task.status === "string" ? task : null;
  } catch {
    return null;
  }
}

function eventsOf(source) {
  const url = new URL(source);
  url.pathname = url.pathname.replace(/\/status\/?$/, "/events/");
  return url;
}

/** Returns the reply. Its status is 0 if there was no answer. */
async function ask(url, signal) {
  try {
    const reply = await fetch(url, {
      cache: "no-store",
      headers: { Accept: "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT)]),
    });
    const retryAfter = milliseconds(reply.headers.get("Retry-After"));
    return { ok: reply.ok, status: reply.status, retryAfter, text: await reply.text() };
  } catch {
    return { ok: false, status: 0, retryAfter: 0 };
  }
}

function slower(pause, interval) {
  return Math.min(pause * 1.2, Math.max(interval, LONGEST_PAUSE));
}

function jittered(time) {
  return time * (0.75 + Math.random() / 2);
}

function milliseconds(retryAfter) {
  return Math.max(Number(retryAfter) * 1000 || Date.parse(retryAfter) - Date.now() || 0, 0);
}

/** Ends early when the tab is shown again or the network is back. */
async function sleep(time, signal) {
  const over = new AbortController();
  let timer;
  await new Promise((resolve) => {
    const untilThen = { signal: over.signal };
    if (signal.aborted) resolve();
    timer = setTimeout(resolve, Math.min(time, LONGEST_TIMER));
    document.addEventListener("visibilitychange", () => document.hidden || resolve(), untilThen);
    window.addEventListener("online", resolve, untilThen);
    signal.addEventListener("abort", resolve, untilThen);
  });
  clearTimeout(timer);
  over.abort();
}

async function shown(signal) {
  while (document.hidden && !signal.aborted) await sleep(LONGEST_TIMER, signal);
}

if (!customElements.get("jobtastic-progress")) customElements.define("jobtastic-progress", JobtasticProgress);
