// The gallery: filters at the left, cards at the right, all of it decided by the query in the address.

import { el } from "./api.js";
import { _, n_, number } from "./words.js";

/** Filters in the order of the side bar: name in the query, heading, and the words for their values. */
const FILTERS = [
  ["state", _("State"), {
    unchecked: _("Not checked yet"), checked: _("Checked"), corrected: _("Corrected"), waiting: _("Not applied yet"),
    excluded: _("Excluded"), failed: _("Without annotation"), unread: _("Being read"),
  }],
  ["flag", _("Worth a look"), {
    uncertain: _("Uncertain ranking"), switches: _("Likely ID switches"), low_quality: _("Low quality"),
    seldom_seen: _("Seldom seen"), much_filled: _("Much filled in"),
  }],
  ["label", _("Label"), {}],
  ["split", _("Data split"), {}],
  ["reason", _("Failure"), {
    NO_TRACKS: _("NO_TRACKS"), INSUFFICIENT_LENGTH: _("INSUFFICIENT_LENGTH"), LOW_QUALITY: _("LOW_QUALITY"),
    PROCESSING_ERROR: _("PROCESSING_ERROR"), EMPTY_VIDEO: _("EMPTY_VIDEO"),
  }],
];

const ORDERS = {
  name: _("Name"), uncertain: _("Most uncertain first"), lead: _("Smallest lead first"),
  quality: _("Lowest quality first"), teach: _("Teaches most first"), switches: _("Likeliest ID switch first"),
  score: _("Highest score first"), people: _("Most people first"),
};

const REASONS = {
  one_person: _("one person"), close_ranks: _("close ranks"), seldom_seen: _("seldom seen"),
  much_filled: _("much filled in"), low_quality: _("low quality"),
};

/** Keys of the gallery, for the foot of the page and the help. */
export const GALLERY_KEYS = [
  [_("Arrows"), _("choose a clip")], ["Enter", _("open it")], ["/", _("search")], ["n p", _("next, previous page")],
  ["s", _("next order")], ["x", _("clear filters")], ["?", _("all keys")],
];

/** Return the gallery of one answer of the server; `go` changes parts of the query, `open` opens a clip. */
export function galleryView(data, query, go, open) {
  const cards = el("div", { class: "cards" }, data.clips.map((clip) => card(clip, data.classes, open)));
  const nothing = el("p", { class: "nothing" }, _("No clip fits. Press x to clear the filters."));
  return el("div", { class: "gallery" },
    sideBar(data, query, go),
    el("section", { class: "results", "aria-label": _("Clips") },
      toolBar(data, query, go),
      data.clips.length ? cards : nothing,
      data.pages > 1 && pager(data, go)));
}

/** Return the filters with the number of clips that each finds. */
function sideBar(data, query, go) {
  const search = el("input", {
    type: "search", id: "search", placeholder: _("Name of clip or folder"), "aria-label": _("Search by name"),
    value: query.text || "", autocomplete: "off", spellcheck: "false",
    // Not on every key: ten thousand names are searched on the server.
    onchange: (event) => go({ text: event.target.value }),
  });
  const groups = FILTERS.map(([name, heading, words]) => {
    const counts = data.counts[name] || {};
    const values = name in { split: 1, reason: 1, label: 1 } ? Object.keys(counts) : Object.keys(words);
    const shown = values.filter((value) => counts[value] || query[name] === value);
    // A split that all clips are in tells nothing.
    if (!shown.length || (name === "split" && shown.length < 2 && !query[name])) return null;
    return el("fieldset", {}, el("legend", {}, heading), shown.map((value) => {
      const on = query[name] === value;
      return el("button", {
        type: "button", class: "filter", "aria-pressed": String(on), "data-filter": `${name}:${value}`,
        onclick: () => go({ [name]: on ? "" : value }),
      }, el("span", {}, words[value] || wordOf(name, value, data)),
      el("span", { class: "count" }, number(counts[value] || 0)));
    }));
  });
  return el("aside", { class: "side", "aria-label": _("Filters") }, search, groups);
}

/** Return the words for a value of a filter whose values come from the clips: classes by name, splits as they are. */
function wordOf(name, value, data) {
  if (name === "label") return data.classes[value] ?? _("class {label}", { label: value });
  return value === "none" ? _("In no split") : value;
}

/** Return the line above the cards. */
function toolBar(data, query, go) {
  const first = data.page * data.page_size;
  const range = data.found ? _("{first} to {last} of {clips}", {
    first: number(first + 1), last: number(first + data.clips.length), clips: n_("{count} clip", "{count} clips", data.found),
  }) : _("no clips");
  const orders = el("select", { id: "order", "aria-label": _("Order"), onchange: (event) => go({ sort: event.target.value }) },
    Object.entries(ORDERS).map(([value, words]) =>
      el("option", { value, selected: (query.sort || "name") === value }, words)));
  const filtered = ["text", ...FILTERS.map(([name]) => name)].some((name) => query[name]);
  return el("div", { class: "toolbar" },
    el("span", { id: "range" }, range),
    filtered && el("button", { type: "button", onclick: () => go(clearedFilters()) }, _("Clear filters")),
    el("span", { class: "spring" }), el("label", {}, _("Order"), " ", orders));
}

/** Return the part of a query that takes every filter back. */
export function clearedFilters() {
  return Object.fromEntries(["text", ...FILTERS.map(([name]) => name)].map((name) => [name, ""]));
}

/** Return the order that follows in the list. */
export function nextOrder(sort) {
  const names = Object.keys(ORDERS);
  return names[(names.indexOf(sort || "name") + 1) % names.length];
}

/** Return the buttons that lead to other pages. */
function pager(data, go) {
  const to = (page, words) => el("button", {
    type: "button", disabled: page < 0 || page >= data.pages, onclick: () => go({ page: String(page) }, true),
  }, words);
  return el("nav", { class: "pager", "aria-label": _("Pages") },
    to(data.page - 1, _("Previous")),
    el("span", {}, _("page {page} of {pages}", { page: data.page + 1, pages: data.pages })), to(data.page + 1, _("Next")));
}

/** Return the card of one clip. */
function card(clip, classes, open) {
  const cut = clip.name.lastIndexOf("/");
  return el("button", {
    type: "button", class: `card${clip.excluded ? " out" : ""}`, "data-id": clip.id, title: clip.name,
    onclick: () => open(clip.id),
  },
  picture(clip, classes),
  el("span", { class: "name" }, clip.name.slice(cut + 1)),
  el("span", { class: "folder" }, clip.name.slice(0, Math.max(cut, 0)) || "."),
  el("span", { class: "facts" }, facts(clip)),
  clip.status === "annotated" && el("span", { class: "facts scores" },
    clip.top.slice(0, 3).map(([id, score]) => `ID ${id} ${score.toFixed(2)}`).join("  |  ")),
  el("span", { class: "tags" }, tags(clip)));
}

/** Return the thumbnail, or words where there is nothing to see. */
function picture(clip, classes) {
  const frame = el("span", { class: "thumb" });
  if (clip.status === "annotated") {
    const image = el("img", { src: `/thumbnails/${clip.id}?v=${clip.video}`, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(el("span", { class: "words" }, _("no overlay"))));
    frame.append(image);
  } else {
    const words = { unread: _("being read"), unreadable: _("unreadable") }[clip.status] || clip.reason || _("failed");
    frame.append(el("span", { class: "words" }, words.replaceAll("_", " ").toLowerCase()));
  }
  const label = clip.label === undefined || clip.label === null ? _("no label")
    : classes[clip.label] ?? _("class {label}", { label: clip.label });
  frame.append(el("span", { class: `label ${clip.label === 1 ? "fight" : ""}` }, clip.relabelled ? _("{label}, changed", { label }) : label));
  return frame;
}

/** Return the figures of a card in one line. */
function facts(clip) {
  if (clip.status !== "annotated") return clip.info || "";
  const seconds = clip.fps ? _("{seconds} s", { seconds: (clip.frames / clip.fps).toFixed(1) }) : "";
  const lead = clip.gap === null ? "" : _("lead {lead}", { lead: clip.gap.toFixed(2) });
  return [seconds, n_("{count} person", "{count} people", clip.people), lead].filter(Boolean).join("  |  ");
}

/** Return what is special about a clip, as small words. */
function tags(clip) {
  const words = (clip.uncertain || []).map((name) => [REASONS[name] || name, "warn"]);
  if (clip.suspects) words.push([n_("{count} likely switch", "{count} likely switches", clip.suspects), "warn"]);
  if (clip.corrections) words.push([clip.waiting ? _("corrected, not applied") : _("corrected"), "good"]);
  if (clip.checked) words.push([_("checked"), "good"]);
  if (clip.excluded) words.push([_("excluded"), ""]);
  return words.map(([text, kind]) => el("span", { class: `tag ${kind}` }, text));
}

/** Move the focus among the cards by a key; returns whether the key was one of those that do. */
export function moveAmongCards(key) {
  const cards = [...document.querySelectorAll(".card")];
  if (!cards.length) return false;
  const here = cards.indexOf(document.activeElement);
  const columns = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
  if (!step) return false;
  const next = here < 0 ? 0 : Math.min(Math.max(here + step, 0), cards.length - 1);
  cards[next].focus();
  return true;
}
