// The page's words in the language of `fightpose review`: English in these scripts, the rest comes from the server.

const answer = await fetch("/api/words", { credentials: "same-origin" }).catch(() => null);
const { lang, words } = answer?.ok ? await answer.json() : { lang: "en", words: {} };
document.documentElement.lang = lang;

/** Return a text in the language of the page; `{name}` becomes the value of that name. */
export function _(text, values = {}) {
  // In one pass: a value that looks like a field stays as it is.
  return (words[text] ?? text).replace(/\{(\w+)\}/g, (field, name) => values[name] ?? field);
}

/** Return a number of things in the language of the page; `{count}` becomes the number. */
export function n_(one, many, count) {
  return _(count === 1 ? one : many, { count: number(count) });
}

/** Return a number in the reader's way of writing it. */
export function number(value) {
  return value.toLocaleString(lang);
}
