// Pictures of one clip: involvement over time, components, regions. Each is an SVG made again when the clip changes.

import { el, svg } from "./api.js";
import { boxAt } from "./player.js";
import { _ } from "./words.js";

const LEFT = 74; // Room for the names at the left of the time chart, in its own units.
const WIDTH = 640;
const ROW = 40;
const GAP = 8;

/**
 * Return the involvement of everyone over time, and a function that moves its playhead to a frame.
 *
 * A row is filled as high as the person's score in each window; the thin line below shows when the person is seen at
 * all. Marks at the top are the places where an ID may have gone to another person.
 */
export function timeChart(clip, selected, seek, select) {
  const height = 14 + clip.people.length * (ROW + GAP);
  const last = Math.max(clip.frames, 1);
  const x = (frame) => LEFT + (WIDTH - LEFT) * frame / last;
  const highest = Math.max(0.05, ...clip.people.flatMap((person) => person.windows));
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "time", role: "img",
    "aria-label": _("Involvement of each person over time") });
  clip.people.forEach((person, rank) => {
    const top = 14 + rank * (ROW + GAP);
    const chosen = person.id === selected;
    chart.append(svg("g", { class: chosen ? "row chosen" : "row", onclick: () => select(person.id) },
      svg("rect", { class: "ground", x: LEFT, y: top, width: WIDTH - LEFT, height: ROW }),
      svg("text", { x: 0, y: top + 17, class: "id" }, `ID ${person.id}`),
      svg("text", { x: 0, y: top + 32, class: "small" }, person.role ? roleWord(person.role) : _("rank {rank}", { rank: rank + 1 })),
      svg("path", { d: area(person.windows, clip.window_frames, x, top + ROW - 4, (ROW - 6) / highest),
        fill: person.color, "fill-opacity": chosen ? 0.95 : 0.7 }),
      person.spans.map(([from, to]) =>
        svg("rect", { x: x(from), y: top + ROW - 3, width: Math.max(x(to) - x(from), 0.5), height: 3, fill: person.color }))));
  });
  for (const suspect of clip.suspects) {
    chart.append(svg("path", { class: "suspect", d: `M${x(suspect.frame) - 4} 1h8l-4 8z`,
      onclick: () => seek(suspect.frame) }, svg("title", {}, suspectWords(suspect))));
  }
  const head = svg("line", { class: "playhead", x1: LEFT, x2: LEFT, y1: 0, y2: height });
  chart.append(head);
  chart.addEventListener("click", (event) => {
    const box = chart.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * WIDTH;
    // A press on the names chooses the person only.
    if (place >= LEFT && !event.target.classList.contains("suspect")) {
      seek(Math.floor((place - LEFT) / (WIDTH - LEFT) * last));
    }
  });
  /** Move the playhead. */
  const move = (frame) => head.setAttribute("transform", `translate(${x(frame + 0.5) - LEFT} 0)`);
  return [chart, move];
}

/** Return the outline of a person's scores over the windows. */
function area(scores, edges, x, base, scale) {
  const tops = scores.map((score, i) => `L${x(edges[i])} ${base - score * scale}L${x(edges[i + 1])} ${base - score * scale}`);
  return scores.length ? `M${x(edges[0])} ${base}${tops.join("")}L${x(edges[scores.length])} ${base}Z` : "";
}

/** Return the word for what a person does; the server's own words stay English. */
export function roleWord(role) {
  return { fighter: _("fighter"), bystander: _("bystander"), unsure: _("unsure") }[role] ?? role;
}

/** Return a component of the score or a region in words. */
export function partWord(name) {
  return {
    movement: _("movement"), size: _("size"), persistence: _("persistence"), interaction: _("interaction"),
    position: _("position"), reliability: _("reliability"), distinctness: _("distinctness"),
    temporal_consistency: _("temporal consistency"), top_left: _("top left"), top_right: _("top right"),
    bottom_left: _("bottom left"), bottom_right: _("bottom right"), center_overlap: _("center overlap"),
  }[name] ?? name.replaceAll("_", " ");
}

/** Return a suspect in words. */
export function suspectWords({ kind, frame, ids }) {
  const who = ids.map((id) => `ID ${id}`);
  // Others of the contact follow the people whom the sign itself is about.
  const about = { swap: 2, jump: 1, broken: 2 }[kind] || ids.length;
  const others = who.slice(about).length ? _("; also close: {people}", { people: who.slice(about).join(", ") }) : "";
  const values = { frame, one: ids[0], other: ids[1], people: who.join(", ") };
  const text = {
    swap: _("frame {frame}: ID {one} and ID {other} may have changed places", values),
    jump: _("frame {frame}: ID {one} jumps, it may be another person from here on", values),
    broken: _("frame {frame}: ID {other} begins where ID {one} ended, they may be one person", values),
    alike: who.length > 1 ? _("frame {frame}: {people} are close, any of them may be exchanged", values)
      : _("frame {frame}: ID {one} is hard to follow here, it may be exchanged", values),
  }[kind] || _("frame {frame}", values);
  return text + others;
}

/** Return bars of every component for everyone, the chosen person's in full colour. */
export function componentBars(clip, selected) {
  const names = Object.keys(clip.people[0]?.components || {});
  const people = [...clip.people, ...clip.rest.filter((person) => person.id === selected)];
  return el("div", { class: "bars" }, names.map((name) => el("div", { class: "component" },
    el("span", { class: "what" }, partWord(name)),
    el("span", { class: "lines" }, people.map((person) => {
      const value = person.components[name];
      return el("span", { class: "line", title: `ID ${person.id}: ${value.toFixed(2)}` },
        el("span", { class: "bar", style: {
          width: `${Math.max(value * 100, 0.5)}%`, background: person.color, opacity: person.id === selected ? 1 : 0.45,
        } }));
    })),
    el("span", { class: "value" }, (people.find((person) => person.id === selected)?.components[name] ?? 0).toFixed(2)))));
}

/** Return the heat map of the regions for one person, with its path, and a function that moves the dot along it. */
export function regionMap(clip, person) {
  // In the shape of the frame; a tall one is drawn narrower, not higher.
  const tall = Math.min(150, 160 * (clip.height || 9) / (clip.width || 16));
  const wide = tall * (clip.width || 16) / (clip.height || 9);
  const chart = svg("svg", { viewBox: `-1 -1 ${wide + 2} ${tall + 2}`, class: "regions", role: "img",
    "aria-label": _("Regions of the frame") });
  const weighted = Object.fromEntries(clip.region_layout.map(({ name }) =>
    [name, (person?.regions[name] ?? 0) * (clip.region_weights[name] ?? 1)]));
  const highest = Math.max(...Object.values(weighted), 0.01);
  const texts = [];
  for (const { name, left, top, width, height, text: [textX, textY] } of clip.region_layout) {
    const area = { x: left * wide, y: top * tall, width: width * wide, height: height * tall };
    const weight = (clip.region_weights[name] ?? 1).toFixed(2);
    // The ground hides what lies below a region, so that shades do not add up.
    chart.append(svg("rect", { class: "ground", ...area }),
      svg("rect", { class: "heat", ...area, "fill-opacity": (0.06 + 0.74 * weighted[name] / highest).toFixed(2) },
        svg("title", {}, _("{region}: score {score}, weight {weight}",
          { region: partWord(name), score: (person?.regions[name] ?? 0).toFixed(2), weight }))));
    texts.push(svg("text", { x: textX * wide, y: textY * tall }, weighted[name].toFixed(2)),
      svg("text", { x: textX * wide, y: textY * tall + 8, class: "small" }, `w ${weight}`));
  }
  const place = (box) => box && [(box[0] + box[2]) / 2 * wide / clip.width, (box[1] + box[3]) / 2 * tall / clip.height];
  const points = (person?.boxes || []).filter(Boolean).map(place).map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`);
  chart.append(svg("polyline", { class: "path", points: points.join(" ") }), ...texts);
  const dot = svg("circle", { r: 3, class: "dot", fill: person?.color || "none", visibility: "hidden" });
  chart.append(dot);
  /** Put the dot where the person is in a frame. */
  const move = (frame) => {
    const spot = place(boxAt(person, frame));
    dot.setAttribute("visibility", spot ? "visible" : "hidden");
    if (spot) dot.setAttribute("transform", `translate(${spot[0]} ${spot[1]})`);
  };
  return [chart, move];
}
