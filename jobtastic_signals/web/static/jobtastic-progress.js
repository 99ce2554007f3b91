/**
 * Shows the progress of a task to a user who waits for it:
 *
 *     <script type="module" src="/task/progress.js"></script>
 *     <jobtastic-progress src="/task/.../status/">Yearly report</jobtastic-progress>
 *
 * Its content, if any, is shown as its label.
 *
 * Attributes
 *   src       the URL of the task's status; another task starts anew, and a new token for the same task does not
 *   stream    read the sibling `events/` (server-sent events), and poll if that does not work. The elements of a
 *             page share two streams, and all tabs share four; the other elements poll
 *   interval  milliseconds between two polls, 1000 by default; longer while nothing changes
 *   label     the name for assistive technology; by default the content, or "Progress"
 *   cancel    offer a button to cancel, where the site allows it; its value, if any, is the button's text. The
 *             task goes on for others who wait for it, and this element stops watching it
 *   state     set by the element, for CSS: waiting, progress, success, failure, cancelled or error
 *
 * Events (they bubble, and cross the borders of shadow trees)
 *   jobtastic-progress  the task waits or runs, and its status changed; `detail` is the task from the server
 *   jobtastic-success   the task succeeded; `detail` is the task, with its `result`
 *   jobtastic-failure   it failed; `detail` is the task, with its error as `result`; `state` may be REVOKED
 *   jobtastic-error     a request failed; `detail` is `{status, retrying}`, with status 0 for no answer, and
 *                       `redirected: true` if a web page came instead, such as that for signing in, and
 *                       `cancelling: true` if it was the request to cancel
 *   jobtastic-cancel    the button was pressed; `preventDefault()` keeps the task; `detail` is the task
 *   jobtastic-left      the user has left the task; `detail` is `{revoked}`: false where others wait for it
 *
 * Properties
 *   task   the latest status of the task, or null
 *   texts  replaces TEXTS below: `element.texts.success = "Your report is ready."`;
 *          `JobtasticProgress.texts` does for all elements; set it in the script that imports this module
 *
 * Custom properties: --jobtastic-color, --jobtastic-success, --jobtastic-failure, --jobtastic-track,
 * --jobtastic-muted, --jobtastic-height, --jobtastic-radius, --jobtastic-gap.
 *
 * Parts: label, track, bar, head, message, percent, foot (the time left, or why nothing moves), cancel.
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
  cancel: "Cancel",
  cancelling: "Cancelling",
  notCancelled: "It could not be cancelled. Try again.",
  finished: (ago) => `Finished ${ago}`,
  hostLost: "The worker does not answer",
  ignored: "This task does not report its progress.",
  lost: "Connection lost, trying again",
  error: "The progress cannot be shown.",
  signIn: "Reload this page to sign in again.",
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

/** Why nothing more is to be expected for now: the name of the text that says it. */
const NOTICES = { __proto__: null, host_lost: "hostLost", ignored: "ignored" };

/** A browser opens six connections to a host with HTTP/1.1, for all tabs together. Some must stay free. */
const STREAMS_OF_A_PAGE = 2;
const STREAMS_OF_A_BROWSER = 4;

const REQUEST_TIMEOUT = 15_000;
const LONGEST_PAUSE = 10_000;
const LONGEST_RETRY = 30_000;
const LONGEST_TIMER = 2 ** 31 - 1;
const MINUTE = 60_000;

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host {
    --_color: var(--jobtastic-color, light-dark(#2563eb, #6ba1ff));
    --_height: var(--jobtastic-height, 0.375rem);
    --_radius: var(--jobtastic-radius, 1rem);
    --_gap: var(--jobtastic-gap, 0.375em);
    --_towards: 1;
    display: block;
    position: relative;
  }
  :host([hidden]) { display: none; }
  :host(:dir(rtl)) { --_towards: -1; }
  .label { margin-block-end: var(--_gap); }
  .track {
    position: relative;
    block-size: var(--_height);
    overflow: hidden;
    border-radius: var(--_radius);
    background: var(--jobtastic-track, color-mix(in srgb, currentColor 15%, transparent));
  }
  .success { --_color: var(--jobtastic-success, light-dark(#15803d, #4cc38a)); }
  .cancelled { --_color: color-mix(in srgb, currentColor 50%, transparent); }
  .failure { --_color: var(--jobtastic-failure, light-dark(#c81e1e, #ff7a70)); }
  .bar {
    block-size: 100%;
    inline-size: var(--_fill, 0%);
    border-radius: inherit;
    background: var(--_color);
    transition: inline-size 0.4s ease-out, background-color 0.4s;
  }
  /* Never backwards: what waits is not the bar, which then grows from nothing. */
  :is(.unknown, .error) .bar { transition: none; }
  .unknown::before {
    content: "";
    position: absolute;
    inset-block: 0;
    inset-inline-start: 0;
    inline-size: 30%;
    border-radius: inherit;
    background: var(--_color);
    animation: wander 1.6s ease-in-out infinite alternate;
  }
  .stale .bar, .stale::before { opacity: 0.5; animation-play-state: paused; }
  /* As high in each state, so that nothing below jumps. */
  .text { min-block-size: 2lh; margin-block-start: var(--_gap); }
  .head { display: flex; }
  .message {
    flex: 1;
    min-inline-size: 0;
    min-block-size: 1lh;
    display: -webkit-box;
    -webkit-box-orient: vertical;
    -webkit-line-clamp: 1;
    overflow: hidden;
    overflow-wrap: anywhere;
  }
  .ended .message { -webkit-line-clamp: 6; }
  .message, .percent, .foot { text-align: left; unicode-bidi: plaintext; }
  :host(:dir(rtl)) :is(.message, .foot) { text-align: right; }
  .percent { font-variant-numeric: tabular-nums; white-space: nowrap; }
  .percent:not(:empty) { margin-inline-start: 1em; }
  .foot {
    color: var(--jobtastic-muted, color-mix(in srgb, currentColor 85%, transparent));
    font-size: 0.875em;
  }
  .tail { display: flex; align-items: center; gap: 1em; }
  :host([cancel]) .tail { min-block-size: 1.75rem; }
  .tail .foot { flex: 1; min-inline-size: 0; }
  .cancel {
    min-block-size: 1.75rem;
    padding: 0 0.75em;
    border: 1px solid color-mix(in srgb, currentColor 50%, transparent);
    border-radius: 0.375rem;
    background: none;
    color: inherit;
    font: inherit;
    font-size: 0.875em;
    cursor: pointer;
  }
  .cancel[hidden] { display: none; }
  .cancel:hover { background: color-mix(in srgb, currentColor 10%, transparent); }
  .cancel[aria-disabled="true"] { opacity: 0.6; cursor: default; }
  .message:focus { outline: none; }
  .spoken { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); }
  @keyframes wander { to { translate: calc(var(--_towards) * 233.3%); } }
  @media (prefers-reduced-motion: reduce) {
    .bar { transition: none; }
    .unknown::before { inline-size: 100%; opacity: 0.4; animation: none; }
  }
  @media (forced-colors: active) {
    .track { border: 1px solid CanvasText; }
    .bar, .unknown::before { forced-color-adjust: none; background: Highlight; }
  }
`);

export class JobtasticProgress extends HTMLElement {
  static observedAttributes = ["src", "stream", "label", "cancel", "state"];
  static texts = {};

  texts = {};
  #task = null;
  #seen = "";
  #problem = null;
  #endedAt = null;
  #state = null;
  #announced = [-1, ""];
  #run = null;
  /** What the button has led to: null, "cancelling", "failed" or "left". */
  #cancel = null;
  #clock = null;
  #parts = {};

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    root.append(
      this.#part("label", document.createElement("slot")),
      this.#part("track", this.#part("bar")),
      this.#part(
        "text",
        this.#part("head", this.#part("message"), this.#part("percent")),
        this.#part("tail", this.#part("foot"), this.#part("cancel")),
      ),
      this.#part("spoken"),
    );
    this.#parts.cancel.type = "button";
    this.#parts.cancel.addEventListener("click", () => this.#leave());
    this.#parts.message.tabIndex = -1;
    root.addEventListener("slotchange", () => this.#render());
    this.#parts.spoken.role = "status";
    Object.assign(this.#parts.track, { role: "progressbar", ariaValueMin: "0", ariaValueMax: "100" });
  }

  get task() {
    return this.#task;
  }

  connectedCallback() {
    this.#restart();
  }

  /** Without this, a browser would report a move as a removal and an insertion. */
  connectedMoveCallback() {}

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "state") {
      // A page that is morphed removes what the server did not write.
      if (after !== this.#state && this.#state) this.setAttribute("state", this.#state);
    } else if (name === "label" || name === "cancel") {
      if (this.isConnected) this.#render();
    } else if (name === "src" && sameTask(before, after)) {
      // Requests use the new token from now on. Only what a refused token had stopped starts again.
      if (!this.#run) this.#restart();
    } else {
      if (name === "src") this.#forget();
      this.#restart();
    }
  }

  #part(name, ...children) {
    const element = document.createElement(name === "cancel" ? "button" : "div");
    element.className = element.part = name;
    element.append(...children);
    this.#parts[name] = element;
    return element;
  }

  #forget() {
    this.#task = this.#problem = this.#endedAt = this.#cancel = null;
    this.#seen = "";
    this.#announced = [-1, ""];
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
      if (!this.getAttribute("src") || ENDS[this.#task?.status] || isPreview()) return;
      if (this.#cancel === "left") return;
      this.#run = new AbortController();
      this.#watch(this.#run.signal);
    });
  }

  async #watch(signal) {
    let streaming = this.hasAttribute("stream");
    let [pause, failures] = [this.#interval, 0];
    for (;;) {
      await shown(signal);
      if (signal.aborted) return;
      const close = streaming && (await openStream());
      if (close) {
        streaming = await this.#listen(signal).finally(close);
        // Not at once again at a server that ends each stream.
        if (streaming) await sleep(jittered(1000), signal);
        continue;
      }
      const seen = this.#seen;
      const reply = await ask(this.#source, signal);
      if (signal.aborted) return;
      let wait;
      if (reply.ok && this.#take(reply.text)) {
        failures = 0;
        wait = pause = this.#seen === seen ? slower(pause, this.#interval) : this.#interval;
      } else {
        this.#fail(reply);
        wait = Math.max(jittered(Math.min(1000 * 2 ** failures++, LONGEST_RETRY)), reply.retryAfter);
      }
      await sleep(wait, signal);
    }
  }

  /** Returns whether the stream worked, so that it can be opened again. Any refusal, such as 429, means: poll. */
  async #listen(signal) {
    if (signal.aborted) return false;
    const source = new EventSource(siblingOf(this.#source, "events"));
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
      document.addEventListener("visibilitychange", () => resolve(true), untilThen);
      window.addEventListener("online", () => resolve(true), untilThen);
      signal.addEventListener("abort", () => resolve(false), untilThen);
    });
    source.close();
    over.abort();
    return worked;
  }

  /** Says for this page that it wants the task no more. */
  async #leave() {
    const [src, task] = [this.getAttribute("src"), this.#task];
    if (this.#cancel === "cancelling" || !this.#emit("jobtastic-cancel", task)) return;
    this.#cancel = "cancelling";
    this.#render();
    const [url, signal] = [siblingOf(this.#source, "cancel"), new AbortController().signal];
    const reply = await ask(url, signal, { method: "POST", headers: { "X-Jobtastic": "cancel" } });
    const revoked = reply.ok ? answerOf(reply.text) : null;
    // Where it was not revoked, it may have ended just now.
    const now = revoked === false ? await ask(this.#source, signal) : null;
    if (!sameTask(src, this.getAttribute("src")) || ENDS[this.#task?.status]) return;
    if (ENDS[parse(now?.text)?.status]) {
      this.#take(now.text);
      return;
    }
    this.#cancel = revoked === null ? "failed" : "left";
    if (revoked !== null) this.#stop();
    this.#render();
    if (revoked !== null) this.#emit("jobtastic-left", { revoked });
    else this.#emit("jobtastic-error", { status: reply.status, retrying: false, cancelling: true });
  }

  get #source() {
    return new URL(this.getAttribute("src"), document.baseURI);
  }

  get #interval() {
    return Math.max(100, Number(this.getAttribute("interval")) || 1000);
  }

  /** Shows `text` if it is the status of a task. Returns whether it is. */
  #take(text) {
    const task = parse(text);
    if (!task) return false;
    const [changed, end] = [text !== this.#seen, ENDS[task.status]];
    // Only a result that was there already has an age. The user has seen all others end.
    if (end && !this.#task && task.age >= 60) this.#endedAt = Date.now() - 1000 * task.age;
    this.#task = task;
    this.#seen = text;
    this.#problem = null;
    if (changed && this.#cancel === "failed") this.#cancel = null;
    this.#render();
    if (end) this.#stop();
    if (changed) this.#emit(`jobtastic-${end ?? "progress"}`, task);
    return true;
  }

  #fail({ status, page }) {
    const refused = page || (status >= 400 && status < 500 && status !== 408 && status !== 429);
    this.#problem = page || status === 401 ? "signIn" : refused ? "error" : "lost";
    this.#render();
    if (refused) this.#stop();
    this.#emit("jobtastic-error", { status, retrying: !refused, ...(page && { redirected: true }) });
  }

  #emit(name, detail) {
    const cancelable = name === "jobtastic-cancel";
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable }));
  }

  #render() {
    const texts = { ...TEXTS, ...JobtasticProgress.texts, ...this.texts };
    const { label, message, percent, track, text, bar, foot } = this.#parts;
    const view = cancelled(describe(this.#task, this.#problem, this.#endedAt, texts), this.#cancel, texts);
    const content = this.textContent.trim();
    const name = this.getAttribute("label") || content;
    const value = [view.number || view.message, view.foot].filter(Boolean).join(", ");
    this.#state = view.state;
    this.setAttribute("state", view.state);
    label.hidden = !content && !this.childElementCount;
    write(message, view.message);
    write(percent, view.number);
    write(foot, view.foot);
    message.title = view.message;
    track.title = view.title;
    track.className = `track ${view.state} ${view.fill === null ? "unknown" : ""} ${view.stale ? "stale" : ""}`;
    text.classList.toggle("ended", !["waiting", "progress"].includes(view.state));
    track.ariaLabel = name || texts.label;
    track.ariaValueNow = view.now === null ? null : String(view.now);
    track.ariaValueText = value;
    bar.style.setProperty("--_fill", `${view.fill ?? 0}%`);
    this.#renderButton(view, name, texts);
    this.#announce(view, name ? `${name}: ${value}` : value);
    clearTimeout(this.#clock);
    if (this.#endedAt !== null && this.isConnected) this.#clock = setTimeout(() => this.#render(), MINUTE);
  }

  #renderButton({ state }, name, texts) {
    const { cancel, message } = this.#parts;
    const had = this.shadowRoot.activeElement === cancel;
    const label = this.#cancel === "cancelling" ? texts.cancelling : this.getAttribute("cancel") || texts.cancel;
    write(cancel, label);
    cancel.ariaLabel = name ? `${label}: ${name}` : label;
    // Not `disabled`, which would take the focus away.
    cancel.ariaDisabled = String(this.#cancel === "cancelling");
    cancel.hidden = !this.hasAttribute("cancel") || !this.#task || !["waiting", "progress"].includes(state);
    // So that the keyboard goes on from here.
    if (had && cancel.hidden) message.focus();
  }

  /** Announces the start, each quarter, each notice and the end to screen readers, each only once. */
  #announce({ state, now, notice }, words) {
    const [announced, noticed] = this.#announced;
    const step = { waiting: 0, progress: 1 + Math.floor(now / 25) }[state] ?? 9;
    if (step <= announced && notice === noticed) return;
    this.#announced = [Math.max(step, announced), notice];
    this.#parts.spoken.textContent = words;
  }
}

/** Writes only a text that changed: a user may have selected it, or a screen reader may be reading it. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function describe(task, problem, endedAt, texts) {
  const view = { state: "waiting", message: "", number: "", foot: "", title: "", now: null, fill: null };
  Object.assign(view, { stale: false, notice: "" });
  if (problem && problem !== "lost") return { ...view, state: "error", message: texts[problem], fill: 0 };
  const end = ENDS[task?.status];
  if (end) return { ...view, ...ended(task, end, texts), foot: ago(endedAt, texts), fill: 100 };
  const progress = task?.result;
  if (typeof progress?.progress_percent === "number") Object.assign(view, inProgress(progress, texts));
  else view.message = texts[STATES[task?.status ?? "PENDING"] ?? "running"];
  view.notice = texts[NOTICES[task?.notice]] ?? "";
  if (task?.notice === "ignored") Object.assign(view, { message: view.notice, fill: view.fill ?? 0 });
  else if (view.notice) Object.assign(view, { foot: view.notice, stale: true });
  if (problem) Object.assign(view, { foot: texts.lost, stale: true });
  return view;
}

/** Returns the view after the button was pressed. */
function cancelled(view, outcome, texts) {
  if (outcome === "failed") return { ...view, foot: texts.notCancelled, notice: texts.notCancelled };
  if (outcome !== "left") return view;
  const left = { state: "cancelled", message: texts.revoked, number: "", foot: "", now: null, stale: false };
  return { ...view, ...left, fill: view.fill ?? 0 };
}

function ended(task, end, texts) {
  if (end === "success") return { state: end, message: texts.success, now: 100 };
  return { state: end, message: String(task.message || texts[task.state === "REVOKED" ? "revoked" : "failure"]) };
}

function ago(endedAt, texts) {
  if (endedAt === null) return "";
  const [unit, amount] = rounded((Date.now() - endedAt) / 1000);
  return texts.finished(new Intl.RelativeTimeFormat(texts.locale).format(-amount, unit));
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
  const [unit, amount] = rounded(seconds);
  return texts.remaining(format(amount, { style: "unit", unit, unitDisplay: "long" }));
}

/** Returns a natural unit, and the amount of it, no more precise than an estimate can be. */
function rounded(seconds) {
  const [unit, size, step] = UNITS.find(([, size]) => seconds > 0.91 * size);
  return [unit, Math.round(seconds / size / step) * step];
}

function parse(text) {
  try {
    const { task } = JSON.parse(text);
    return typeof task.status === "string" ? task : null;
  } catch {
    return null;
  }
}

/** Returns what the answer to a request to cancel says, or null if it is none. */
function answerOf(text) {
  try {
    const { revoked } = JSON.parse(text);
    return typeof revoked === "boolean" ? revoked : null;
  } catch {
    return null;
  }
}

function siblingOf(source, name) {
  const url = new URL(source);
  url.pathname = url.pathname.replace(/\/status\/?$/, `/${name}/`);
  return url;
}

/** Returns whether Turbo shows a page from its cache until the page itself arrives, with an element of its own. */
function isPreview() {
  return document.documentElement.hasAttribute("data-turbo-preview");
}

/** Returns whether two URLs differ at most in what follows the task id in a token, `<task id>~...`. */
function sameTask(one, other) {
  const task = (url) => url && new URL(url, document.baseURI).href.replace(/(~|%7e)[^/?&#]*/gi, "");
  return task(one) === task(other);
}

let streams = 0;

/** Returns what to call when the stream is closed, or null if there are enough streams. */
async function openStream() {
  if (streams >= STREAMS_OF_A_PAGE) return null;
  streams++;
  for (let n = 0; n < STREAMS_OF_A_BROWSER; n++) {
    const unlock = await lock(`jobtastic-stream-${n}`);
    if (unlock) return () => (streams--, unlock());
  }
  streams--;
  return null;
}

/** Takes a lock that the tabs of a site share. Returns what releases it, or null if another stream has it. */
function lock(name) {
  return new Promise((resolve) => {
    const hold = (lock) => (lock ? new Promise(resolve) : resolve(null));
    const free = () => resolve(() => {});
    // Without HTTPS there are no locks. Each page then looks after its own streams.
    if (navigator.locks) navigator.locks.request(name, { ifAvailable: true }, hold).catch(free);
    else free();
  });
}

/** Returns the reply. Its status is 0 if there was no answer. `page` says that a web page came instead. */
async function ask(url, signal, { method = "GET", headers = {} } = {}) {
  const options = {
    method,
    cache: "no-store",
    headers: { Accept: "application/json", ...headers },
    signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT)]),
  };
  let redirected = false;
  try {
    let reply = await fetch(url, { ...options, redirect: "manual" });
    redirected = reply.type === "opaqueredirect";
    if (redirected && method === "GET") reply = await fetch(url, options);
    const { ok, status, headers } = reply;
    const page = ok && /\bhtml\b/.test(headers.get("Content-Type"));
    return { ok, status, page, retryAfter: milliseconds(headers.get("Retry-After")), text: await reply.text() };
  } catch (error) {
    // A page of another site, such as one for signing in, cannot be read.
    const page = redirected && error instanceof TypeError;
    return { ok: false, status: 0, page, retryAfter: 0 };
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
