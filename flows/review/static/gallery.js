// The gallery: filters at the left, cards at the right, all of it decided by the query in the address.

import { counted, el } from "./api.js";

/** Filters in the order of the side bar: name in the query, heading, and the words for their values. */
const FILTERS = [
  ["state", "State", {
    unchecked: "Not checked yet", checked: "Checked", corrected: "Corrected", waiting: "Not applied yet",
    excluded: "Excluded", failed: "Without annotation", unread: "Being read",
  }],
  ["flag", "Worth a look", {
    uncertain: "Uncertain ranking", switches: "Likely ID switches", low_quality: "Low quality",
    seldom_seen: "Seldom seen", much_filled: "Much filled in",
  }],
  ["label", "Label", {}],
  ["split", "Split", {}],
  ["reason", "Failure", {}],
];

const ORDERS = {
  name: "Name", uncertain: "Most uncertain first", lead: "Smallest lead first", quality: "Lowest quality first",
  teach: "Teaches most first", switches: "Likeliest ID switch first", score: "Highest score first", people: "Most people first",
};

const REASONS = {
  one_person: "one person", close_ranks: "close ranks", seldom_seen: "seldom seen", much_filled: "much filled in",
  low_quality: "low quality",
};

/** Keys of the gallery, for the foot of the page and the help. */
export const GALLERY_KEYS = [
  ["Arrows", "choose a clip"], ["Enter", "open it"], ["/", "search"], ["n p", "next, previous page"],
  ["s", "next order"], ["x", "clear filters"], ["?", "all keys"],
];

/** Return the gallery of one answer of the server; `go` changes parts of the query, `open` opens a clip. */
export function galleryView(data, query, go, open) {
  const cards = el("div", { class: "cards" }, data.clips.map((clip) => card(clip, data.classes, open)));
  const nothing = el("p", { class: "nothing" }, "No clip fits. Press x to clear the filters.");
  return el("div", { class: "gallery" },
    sideBar(data, query, go),
    el("section", { class: "results", "aria-label": "Clips" },
      toolBar(data, query, go),
      data.clips.length ? cards : nothing,
      data.pages > 1 && pager(data, go)));
}

/** Return the filters with the number of clips that each finds. */
function sideBar(data, query, go) {
  const search = el("input", {
    type: "search", id: "search", placeholder: "Name of clip or folder", "aria-label": "Search by name",
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
      el("span", { class: "count" }, (counts[value] || 0).toLocaleString("en")));
    }));
  });
  return el("aside", { class: "side", "aria-label": "Filters" }, search, groups);
}

/** Return the words for a value of a filter whose values come from the clips: classes by name, splits as they are. */
function wordOf(name, value, data) {
  if (name === "label") return data.classes[value] ?? `class ${value}`;
  return value === "none" ? "In no split" : value;
}

/** Return the line above the cards. */
function toolBar(data, query, go) {
  const first = data.page * data.page_size;
  const range = data.found ? `${(first + 1).toLocaleString("en")} to `
    + `${(first + data.clips.length).toLocaleString("en")} of ${counted(data.found, "clip")}` : "no clips";
  const orders = el("select", { id: "order", "aria-label": "Order", onchange: (event) => go({ sort: event.target.value }) },
    Object.entries(ORDERS).map(([value, words]) =>
      el("option", { value, selected: (query.sort || "name") === value }, words)));
  const filtered = ["text", ...FILTERS.map(([name]) => name)].some((name) => query[name]);
  return el("div", { class: "toolbar" },
    el("span", { id: "range" }, range),
    filtered && el("button", { type: "button", onclick: () => go(clearedFilters()) }, "Clear filters"),
    el("span", { class: "spring" }), el("label", {}, "Order ", orders));
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
  return el("nav", { class: "pager", "aria-label": "Pages" },
    to(data.page - 1, "Previous"), el("span", {}, `page ${data.page + 1} of ${data.pages}`), to(data.page + 1, "Next"));
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
    image.addEventListener("error", () => image.replaceWith(el("span", { class: "words" }, "no overlay")));
    frame.append(image);
  } else {
    const words = { unread: "being read", unreadable: "unreadable" }[clip.status] || clip.reason || "failed";
    frame.append(el("span", { class: "words" }, words.replaceAll("_", " ").toLowerCase()));
  }
  const label = clip.label === undefined || clip.label === null ? "no label" : classes[clip.label] ?? `class ${clip.label}`;
  frame.append(el("span", { class: `label ${clip.label === 1 ? "fight" : ""}` }, clip.relabelled ? `${label}, changed` : label));
  return frame;
}

/** Return the figures of a card in one line. */
function facts(clip) {
  if (clip.status !== "annotated") return clip.info || "";
  const seconds = clip.fps ? `${(clip.frames / clip.fps).toFixed(1)} s` : "";
  const lead = clip.gap === null ? "" : `lead ${clip.gap.toFixed(2)}`;
  return [seconds, counted(clip.people, "person", "people"), lead].filter(Boolean).join("  |  ");
}

/** Return what is special about a clip, as small words. */
function tags(clip) {
  const words = (clip.uncertain || []).map((name) => [REASONS[name] || name, "warn"]);
  if (clip.suspects) words.push([counted(clip.suspects, "likely switch", "likely switches"), "warn"]);
  if (clip.corrections) words.push([clip.waiting ? "corrected, not applied" : "corrected", "good"]);
  if (clip.checked) words.push(["checked", "good"]);
  if (clip.excluded) words.push(["excluded", ""]);
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
