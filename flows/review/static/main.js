// The page as a whole: the address decides what is shown, keys go to the view that is open.

import { attempt, el, getClips, post, say } from "./api.js";
import { CLIP_KEYS, MORE_KEYS, openClip } from "./clip.js";
import { GALLERY_KEYS, clearedFilters, galleryView, moveAmongCards, nextOrder } from "./gallery.js";
import { _, n_ } from "./words.js";

const POLL_MS = 2000; // While the index is being read in the background.

// `said` holds the clips of the corrections that were made on this page, so that undo finds them across clips; `seen`
// the clips whose likely switches were shown; `then` what to do in the clip that is being opened.
const state = { query: {}, data: null, clip: null, loading: 0, said: [], seen: new Set(), then: null };

/** Return what the address says: a query, and the clip that is open, if any. */
function readAddress() {
  const [path, query] = location.hash.slice(1).split("?");
  const clip = /^\/clip\/([0-9a-f]{16})$/.exec(path || "");
  return { id: clip ? clip[1] : null, query: Object.fromEntries(new URLSearchParams(query || "")) };
}

/** Return the address of a query, and of a clip in it. */
function addressOf(query, id = null) {
  const filled = Object.entries(query).filter(([, value]) => value && value !== "0");
  return `#${id ? `/clip/${id}` : "/"}?${new URLSearchParams(filled)}`;
}

/** Change parts of the query; another filter begins at the first page. */
function go(changes, keepPage = false) {
  location.hash = addressOf({ ...state.query, ...(keepPage ? {} : { page: "0" }), ...changes });
}

/** Show what the address says. */
async function route() {
  const { id, query } = readAddress();
  // An answer that comes after a later change of the address is dropped.
  const turn = ++state.loading;
  state.query = query;
  if (id) {
    const page = { leave: () => { location.hash = addressOf(state.query); }, neighbour, nextSuspect, undo, said, changed: recount };
    const [view, data] = await Promise.all([openClip(id, page), getClips(query)]);
    if (turn !== state.loading) return;
    [state.clip, state.data] = [view, data];
    document.getElementById("view").replaceChildren(view.node);
    window.scrollTo(0, 0);
    const { then } = state;
    state.then = null;
    if (then) then(view);
  } else {
    const data = await getClips(query);
    if (turn !== state.loading) return;
    const last = state.clip?.clip.id;
    [state.clip, state.data] = [null, data];
    showGallery();
    // Back from a clip, its card is chosen again.
    if (last) document.querySelector(`.card[data-id="${last}"]`)?.focus();
  }
  paintFrame();
}

/** Draw the gallery from the last answer; a card that had the focus keeps it. */
function showGallery() {
  const open = (id) => { location.hash = addressOf(state.query, id); };
  const focused = document.activeElement?.dataset?.id;
  document.getElementById("view").replaceChildren(galleryView(state.data, state.query, go, open));
  if (focused) document.querySelector(`.card[data-id="${focused}"]`)?.focus({ preventScroll: true });
}

/** Go to the clip some places further in the list from which this one was opened. */
async function neighbour(step) {
  const ids = state.data.clips.map((clip) => clip.id);
  const here = ids.indexOf(state.clip.clip.id);
  let wanted = ids[here + step];
  let page = state.data.page;
  // A clip that a correction took out of the list has no place in it any more: the list's first one follows.
  if (here < 0) wanted = ids[0];
  else if (!wanted) {
    page += step;
    if (page < 0 || page >= state.data.pages) return say(step > 0 ? _("This is the last clip.") : _("This is the first clip."));
    const other = await attempt(() => getClips({ ...state.query, page: String(page) }));
    if (!other) return undefined;
    const list = other.clips;
    wanted = (step > 0 ? list[0] : list[list.length - 1])?.id;
  }
  if (wanted) location.hash = addressOf({ ...state.query, page: String(page) }, wanted);
  return undefined;
}

/** Note that something was said of a clip, or that the last of it was taken back. */
function said(action, id) {
  const last = state.said.lastIndexOf(id);
  if (action !== "undo") state.said.push(id);
  else if (last >= 0) state.said.splice(last, 1);
}

/** Take back what was said last on this page if that was in another clip; returns whether it was. */
function undo(here) {
  const last = state.said[state.said.length - 1];
  if (last === undefined || last === here) return false;
  state.then = (view) => view.undo();
  location.hash = addressOf(state.query, last);
  return true;
}

/** Go to the likeliest switch of the next clip whose switches were not shown yet, most likely clip first. */
async function nextSuspect() {
  state.seen.add(state.clip.clip.id);
  const query = { flag: "switches", sort: "switches" };
  for (let page = 0; ; page += 1) {
    const data = await attempt(() => getClips({ ...query, page: String(page) }));
    if (!data) return;
    const next = data.clips.find((clip) => !state.seen.has(clip.id));
    if (next) {
      state.then = (view) => view.nextSuspect();
      location.hash = addressOf({ ...query, page: String(page) }, next.id);
      return;
    }
    if (page + 1 >= data.pages) break;
  }
  say(_("All likely switches were shown."));
}

/** Bring the numbers in the head up to date; the list from which the clip was opened stays as it was. */
async function recount() {
  const data = await attempt(() => getClips(state.query));
  if (!data || !state.data) return;
  Object.assign(state.data, { counts: data.counts, drawing: data.drawing, draw_errors: data.draw_errors });
  paintFrame();
}

/** Draw what is around the view: the head and the keys. */
function paintFrame() {
  const { data } = state;
  const waiting = data.counts.state.waiting;
  document.title = state.clip ? `${state.clip.clip.name} | fightpose review` : "fightpose review";
  const reading = data.unread ? n_("{count} clip still being read", "{count} clips still being read", data.unread) : "";
  const drawing = data.drawing ? n_("{count} overlay being drawn again", "{count} overlays being drawn again", data.drawing) : "";
  document.getElementById("top").replaceChildren(
    el("a", { href: "#/", class: "brand" }, "fightpose ", el("span", {}, "review")),
    el("span", { class: "root" }, data.root),
    el("span", { class: "soft", id: "totals" }, [n_("{count} clip", "{count} clips", data.clip_count),
      n_("{count} checked", "{count} checked", data.counts.state.checked),
      n_("{count} corrected", "{count} corrected", data.counts.state.corrected), reading, drawing].filter(Boolean).join("  |  ")),
    el("span", { class: "spring" }),
    el("span", { class: "soft" }, _("signed {who}", { who: data.who })),
    el("button", { type: "button", onclick: switchTheme }, _("Light / dark")),
    el("button", { type: "button", onclick: showHelp }, _("Keys")),
    el("button", { type: "button", id: "apply", class: waiting ? "strong" : "", onclick: askToApply },
      waiting ? n_("Apply {count} corrected clip", "Apply {count} corrected clips", waiting) : _("Apply")));
  document.getElementById("keys").replaceChildren(...(state.clip ? CLIP_KEYS : GALLERY_KEYS).map(keyItem));
}

/** Return one key with what it does. */
function keyItem([keys, words]) {
  return el("span", {}, keys.split(" ").map((key) => el("kbd", {}, key)), ` ${words}`);
}

/** Open a dialog with a heading, content and buttons; Escape closes it. */
function openDialog(heading, content, ...buttons) {
  const dialog = document.getElementById("dialog");
  const close = el("button", { type: "button", onclick: () => dialog.close() }, _("Close"));
  dialog.replaceChildren(el("h2", {}, heading), ...content, el("div", { class: "buttons" }, ...buttons, close));
  if (!dialog.open) dialog.showModal();
}

/** Show every key. */
function showHelp() {
  const list = (keys) => el("ul", { class: "keylist" }, keys.map((item) => el("li", {}, keyItem(item))));
  openDialog(_("Keys"), [el("h3", {}, _("Gallery")), list(GALLERY_KEYS), el("h3", {}, _("Clip")), list([...CLIP_KEYS, ...MORE_KEYS])]);
}

/** Say what applying does and offer to do it. */
function askToApply() {
  const text = _("Annotations and dataset.pkl are rewritten from the corrections, then the overlays of clips that look "
    + "different now. The automatic annotations are kept, and every correction can still be taken back.");
  const start = el("button", { type: "button", id: "apply-now", class: "strong", onclick: applyNow }, _("Apply corrections"));
  openDialog(_("Apply corrections"), [el("p", {}, text)], start);
  start.focus();
}

/** Apply all corrections and show what came of it. */
async function applyNow() {
  const button = document.getElementById("apply-now");
  button.disabled = true;
  button.textContent = _("Applying");
  const result = await attempt(() => post("/api/apply"));
  if (!result) {
    document.getElementById("dialog").close();
    return;
  }
  const lines = [...result.lines];
  if (result.drawing) lines.push(n_("{count} overlay being drawn again; go on meanwhile",
    "{count} overlays being drawn again; go on meanwhile", result.drawing));
  openDialog(result.problems ? _("Applied, with problems") : _("Applied"),
    [el("ul", { id: "applied" }, lines.map((line) => el("li", {}, line)))]);
  const { clip } = state;
  if (clip) {
    // Not opened again: the video stays at its frame. Counted first: an overlay that is finished between the two is seen
    // either by the clip here, or as a change of the count when it is looked at again.
    await recount();
    await clip.refresh();
  } else await attempt(route);
}

/** Change between light and dark, whatever the system prefers. */
function switchTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("theme", document.documentElement.dataset.theme = dark ? "light" : "dark");
}

/** Act on a key, unless something is being written. */
function onKey(event) {
  const writing = event.target.matches("input[type=search], textarea, select");
  if (writing) {
    if (event.key === "Escape" || (event.key === "Enter" && event.ctrlKey)) event.target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("dialog").open) return;
  // A button that has the focus keeps its own keys, the player's slider does not: arrows step frames everywhere.
  if (event.key === " " && event.target.matches("button:not(.card)") && !state.clip) return;
  if (event.key === "?" ? (showHelp(), true) : state.clip ? state.clip.key(event) : galleryKey(event)) event.preventDefault();
}

/** Act on a key of the gallery; returns whether it was one. */
function galleryKey(event) {
  const { data } = state;
  if (!data) return false;
  const turn = (step) => {
    const page = data.page + step;
    if (page >= 0 && page < data.pages) go({ page: String(page) }, true);
  };
  const action = {
    "/": () => document.getElementById("search").select(), n: () => turn(1), p: () => turn(-1),
    s: () => go({ sort: nextOrder(state.query.sort) }), x: () => go(clearedFilters()),
  }[event.key];
  if (action) action();
  return Boolean(action) || moveAmongCards(event.key);
}

/** Look again while rows are missing or overlays are drawn, without disturbing someone who looks at a clip or writes. */
async function poll() {
  const { data, clip } = state;
  const before = data?.drawing;
  if (before && clip) {
    await recount();
    if (clip === state.clip && state.data.drawing !== before) await clip.refresh();
  } else if ((data?.unread || before) && !clip && document.activeElement?.id !== "search") await attempt(route);
  const errors = state.data?.draw_errors || [];
  if (before && !state.data.drawing && errors.length) {
    say(`${n_("{count} overlay not drawn again", "{count} overlays not drawn again", errors.length)}: ${errors[0]}`, "error");
  };
  setTimeout(poll, POLL_MS);
}

/** Start the page. */
function start() {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  window.addEventListener("hashchange", () => attempt(route));
  document.addEventListener("keydown", onKey);
  attempt(route);
  setTimeout(poll, POLL_MS);
}

start();
