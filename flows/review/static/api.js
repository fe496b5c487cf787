// Requests to the server, and the making of elements.

import { _ } from "./words.js";

/** An error whose text is meant for the person at the page. */
export class ApiError extends Error {}

/** Ask the server for JSON; throws an ApiError with the server's own line where it refuses. */
async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new ApiError(_("The server does not answer; is 'fightpose review' still running?"));
  }
  const isJson = (answer.headers.get("content-type") || "").includes("json");
  const value = isJson ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new ApiError(value.error || _("The server answered {status}.", { status: answer.status }));
  return value;
}

/** Send JSON to the server and return its answer. */
export function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Return one page of the gallery for a query. */
export function getClips(query) {
  return request(`/api/clips?${new URLSearchParams(query)}`);
}

/** Return one clip. */
export function getClip(id) {
  return request(`/api/clips/${encodeURIComponent(id)}`);
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. `on…` attributes are listeners, `style` an object of properties, true an attribute without value,
 * null, undefined and false none at all; children that are no nodes become text.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element, in the same way. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Give an element its attributes and children. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    // Property by property: the page's policy forbids a style attribute.
    else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

let hiding = 0;

/** Show a line at the bottom for some seconds; `kind` is "" or "error". */
export function say(text, kind = "") {
  const box = document.getElementById("message");
  box.textContent = text;
  box.className = text ? `shown ${kind}` : "";
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.className = ""; }, kind ? 9000 : 4000);
}

/** Run something asynchronous and show what goes wrong. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error instanceof ApiError ? error.message : _("The page failed: {reason}", { reason: error.message }), "error");
    if (!(error instanceof ApiError)) console.error(error);
    return undefined;
  }
}

/** Let one of several things be chosen by its number or with the mouse; resolves to its value, null if none was. */
export function choose(heading, items, current) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    let picked = null;
    const pick = (value) => { picked = value; dialog.close(); };
    const byKey = (event) => {
      const item = items[Number(event.key) - 1];
      if (/^[1-9]$/.test(event.key) && item) pick(item[0]);
    };
    dialog.replaceChildren(el("h2", {}, heading), el("div", { class: "choices" }, items.map(([value, words], place) =>
      el("button", { type: "button", "aria-pressed": String(value === current), onclick: () => pick(value) },
        el("kbd", {}, String(place + 1)), ` ${words}`))));
    dialog.addEventListener("keydown", byKey);
    dialog.addEventListener("close", () => { dialog.removeEventListener("keydown", byKey); resolve(picked); }, { once: true });
    dialog.showModal();
  });
}
