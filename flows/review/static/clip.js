// The view of one clip: player, people, charts, corrections.

import { attempt, choose, el, getClip, post, say } from "./api.js";
import { componentBars, regionMap, roleWord, suspectWords, timeChart } from "./charts.js";
import { boxAt, Player } from "./player.js";
import { _, n_ } from "./words.js";

/** Keys of the clip view, for the foot of the page and the help. */
export const CLIP_KEYS = [
  ["Space", _("play")], ["Left Right", _("one frame")], ["1-9", _("choose a person")],
  ["f b q", _("fighter, bystander, unsure")], ["Shift Up Down", _("change rank")],
  ["o", _("first two fight, the rest are bystanders")], ["x", _("swap from here on")], ["m", _("merge")],
  ["s", _("split here")], ["d", _("drop")], ["j", _("next likely switch")], ["l", _("label")], ["e", _("exclude")],
  ["t", _("note")], ["c", _("checked, next clip")], ["u", _("undo")], ["n p", _("next, previous clip")],
  ["Esc", _("gallery")], ["?", _("all keys")],
];

/** Further keys that only the help lists. */
export const MORE_KEYS = [
  ["Up Down", _("choose the person above, below")], ["Shift Left Right", _("one second")], [", .", _("slower, faster")],
  ["v", _("boxes of everyone as corrected")], ["Shift x", _("swap with another person")], ["r", _("show the rest")],
  ["Shift u", _("redo")],
];

export class ClipView {
  /**
   * Make the view. Of `page`, `leave` goes back to the gallery, `neighbour` to the clip `step` places on in its list,
   * `nextSuspect` to the next clip with a likely switch, `undo` takes back what was said last in another clip; `said`
   * and `changed` are called after a correction.
   */
  constructor(clip, page) {
    this.clip = clip;
    this.page = page;
    this.selected = clip.people[0]?.id ?? null;
    // What the next choice of a person means: null, "merge" or "swap".
    this.pairing = null;
    this.unfolded = false;
    this.visited = new Set();
    this.moves = [];
    this.answered = Promise.resolve();
    this.player = new Player(clip, (frame) => this.moves.forEach((move) => move(frame)));
    this.player.canvas.addEventListener("click", (event) => {
      const id = this.player.personAt(event);
      if (id !== null) this.choose(id);
      else this.player.toggle();
    });
    this.head = el("div", { class: "cliphead" });
    this.time = el("section", { class: "panel timepanel", "aria-label": _("Involvement over time") });
    this.people = el("section", { class: "panel people", "aria-label": _("People") });
    this.parts = el("section", { class: "panel", "aria-label": _("Components") });
    this.regions = el("section", { class: "panel", "aria-label": _("Regions") });
    this.said = el("section", { class: "panel", "aria-label": _("Corrections") });
    this.node = el("div", { class: "clip" }, this.head, el("div", { class: "stage" },
      el("div", { class: "column" }, this.player.node, el("div", { class: "pair" }, this.parts, this.regions)),
      el("div", { class: "column" }, this.time, this.people, this.said)));
    this.paint();
  }

  /** Return everyone who can be chosen: the people of the annotation, and the rest where it is shown. */
  get everyone() {
    return [...this.clip.people, ...(this.unfolded ? this.clip.rest : [])];
  }

  /** Return the chosen person, undefined where nobody is left. */
  get person() {
    return [...this.clip.people, ...this.clip.rest].find((person) => person.id === this.selected);
  }

  /** Draw everything but the video again. */
  paint() {
    if (!this.person) this.selected = this.clip.people[0]?.id ?? null;
    const { clip } = this;
    const [time, moveTime] = timeChart(clip, this.selected, (frame) => this.player.seek(frame), (id) => this.choose(id));
    const [map, moveMap] = regionMap(clip, this.person);
    this.moves = [moveTime, moveMap];
    this.head.replaceChildren(...this.headLine());
    this.time.replaceChildren(el("h2", {}, _("Involvement over time")), clip.people.length ? time : this.nobody());
    // A person chosen in the video is shown in the list.
    if (clip.rest.some((person) => person.id === this.selected)) this.unfolded = true;
    this.people.replaceChildren(el("h2", {}, _("People in rank order")),
      el("ol", {}, clip.people.map((person, rank) => this.personRow(person, rank))), this.restPanel() ?? "");
    const who = this.person ? `ID ${this.person.id}` : _("nobody");
    this.parts.replaceChildren(el("h2", {}, _("Components"), " ", el("small", {}, who)), componentBars(clip, this.selected));
    this.regions.replaceChildren(el("h2", {}, _("Regions"), " ", el("small", {}, _("{who}: score times learned weight", { who }))),
      this.person ? map : "");
    // The note may be being written: its text is not lost when something else changes.
    const draft = this.said.querySelector("textarea");
    const kept = draft && draft.value !== draft.defaultValue ? draft.value : null;
    this.said.replaceChildren(...this.saidPanel(kept));
    this.player.update(clip, this.selected);
    this.moves.forEach((move) => move(this.player.frame));
  }

  /** Return the folded list of the people who are tracked but not in the annotation, null where there are none. */
  restPanel() {
    const { rest, people } = this.clip;
    if (!rest.length) return null;
    return el("details", { class: "rest", open: this.unfolded, ontoggle: (event) => { this.unfolded = event.target.open; } },
      el("summary", { title: _("Show the rest (r)") },
        n_("{count} person not in the annotation", "{count} people not in the annotation", rest.length)),
      el("ol", {}, rest.map((person, place) => this.personRow(person, people.length + place))));
  }

  /** Return what is shown instead of the charts of a clip without people. */
  nobody() {
    return el("p", { class: "nothing" }, this.clip.info || _("Nobody is left in this clip: it stays out of the data set."));
  }

  /** Return the line with name, label and the whole clip's corrections. */
  headLine() {
    const { clip } = this;
    const label = this.labelName(clip.label);
    const state = [clip.reason, clip.excluded && _("excluded"), clip.checked && _("checked"),
      clip.waiting && _("not applied yet")];
    return [
      el("button", { type: "button", onclick: this.page.leave }, _("Gallery")),
      el("h1", { id: "clip-name" }, clip.name),
      el("span", { class: "tags" }, state.filter(Boolean).map((text) => el("span", { class: "tag" }, text))),
      el("span", { class: "spring" }),
      el("button", { type: "button", id: "label", class: clip.label === 1 ? "fight" : "", title: _("Change the label (l)"),
        onclick: () => this.relabel() }, clip.label === clip.automatic_label
        ? _("Label: {label}", { label }) : _("Label: {label} (changed)", { label })),
      el("button", { type: "button", id: "exclude", "aria-pressed": String(clip.excluded), onclick: () => this.exclude() },
        clip.excluded ? _("Excluded") : _("Exclude")),
      el("button", { type: "button", id: "checked", "aria-pressed": String(clip.checked), onclick: () => this.check(false) },
        clip.checked ? _("Checked") : _("Mark as checked")),
      el("button", { type: "button", title: _("Previous clip (p)"), onclick: () => this.page.neighbour(-1) },
        _("Previous")),
      el("button", { type: "button", title: _("Next clip (n)"), onclick: () => this.page.neighbour(1) }, _("Next")),
    ];
  }

  /** Return the name of a class. */
  labelName(label) {
    return this.clip.classes[label] ?? _("class {label}", { label });
  }

  /** Return the row of one person; from the number of people in the annotation on, `rank` counts through the rest. */
  personRow(person, rank) {
    const listed = rank < this.clip.people.length;
    const before = this.clip.automatic_order.indexOf(person.id);
    const moved = listed && before >= 0 && before !== rank ? _("was {rank}", { rank: before + 1 }) : "";
    const figures = [
      _("score {score}", { score: person.score.toFixed(2) }), _("quality {quality}", { quality: person.quality.toFixed(2) }),
      n_("{count} frame", "{count} frames", person.length), person.partner ? _("with ID {id}", { id: person.partner }) : "", moved,
    ].filter(Boolean).join("  |  ");
    const button = (words, hint, action, pressed) => el("button", { type: "button", title: hint,
      "aria-pressed": pressed === undefined ? null : String(pressed),
      onclick: (event) => { event.stopPropagation(); this.selected = person.id; action(); } }, words);
    const role = (name) => button(roleWord(name), `${roleWord(name)} (${{ fighter: "f", bystander: "b", unsure: "q" }[name]})`,
      () => this.role(name), person.role === name);
    return el("li", { class: person.id === this.selected ? "chosen" : "", "data-person": person.id,
      onclick: () => this.choose(person.id) },
    el("span", { class: "rank", style: { background: person.color } }, listed ? String(rank + 1) : "-"),
    el("span", { class: "who" }, el("b", {}, `ID ${person.id}`), el("small", {}, figures)),
    el("span", { class: "roles" }, role("fighter"), role("bystander"), role("unsure")),
    el("span", { class: "acts" }, button(_("Up"), listed ? _("Higher rank (Shift Up)") : _("Into the annotation (Shift Up)"),
      () => this.move(-1)),
      listed && button(_("Down"), _("Lower rank (Shift Down)"), () => this.move(1)),
      button(_("Swap"), _("Changes places with the nearest person from the frame shown on (x)"), () => this.swap()),
      button(_("Merge"), _("Same person as another one (m)"), () => this.startMerge()),
      button(_("Split"), _("Another person from the frame shown on (s)"), () => this.split()),
      button(_("Drop"), _("Not a person, or not wanted (d)"), () => this.drop())));
  }

  /** Return the panel of what was said, and of what may be wrong. */
  saidPanel(kept) {
    const { clip } = this;
    const note = el("textarea", { id: "note", rows: 3, maxlength: 4000, placeholder: _("Note (t)"), "aria-label": _("Note"),
      onchange: () => this.note(note.value) });
    note.defaultValue = clip.note;
    if (kept !== null) note.value = kept;
    const suspects = clip.suspects || [];
    return [
      el("h2", {}, _("Corrections"), " ", el("small", {}, n_("{count} in force", "{count} in force", clip.history.length))),
      el("ul", { class: "history" }, clip.history.map((entry) => el("li", {},
        el("span", {}, entry.text), el("small", {}, `${entry.who}, ${when(entry.time)}`),
        el("button", { type: "button", onclick: () => this.send("undo", () => ({ entry: entry.id })) }, _("Take back")))).reverse()),
      clip.misfits.length > 0 && el("ul", { class: "misfits" }, clip.misfits.map((text) => el("li", {}, _("Does not fit: {text}", { text })))),
      el("div", { class: "undo" },
        el("button", { type: "button", id: "undo", disabled: !clip.history.length, onclick: () => this.undo() }, _("Undo")),
        el("button", { type: "button", id: "redo", disabled: !clip.redo, onclick: () => this.redo() }, _("Redo"))),
      note,
      suspects.length > 0 && el("h2", {}, _("Likely ID switches"), " ", el("small", {}, _("hints, most likely first"))),
      suspects.length > 0 && el("ul", { class: "suspects" }, suspects.map((suspect) => el("li", {},
        el("button", { type: "button", onclick: () => this.lookAt(suspect) }, suspectWords(suspect))))),
    ].filter(Boolean);
  }

  /** Choose a person, or the other half of a merge or swap. */
  choose(id) {
    const { pairing } = this;
    this.pairing = null;
    if (pairing && id !== this.selected) {
      if (pairing === "merge") this.mergeWith(id);
      else this.swapWith(id);
      return;
    }
    this.selected = id;
    this.paint();
  }

  /** Choose the person some places further down. */
  chooseBy(step) {
    const ids = this.everyone.map((person) => person.id);
    if (ids.length) this.choose(ids[Math.min(Math.max(ids.indexOf(this.selected) + step, 0), ids.length - 1)]);
  }

  /**
   * Ask the server for the clip, one request at a time, and show it; returns it, undefined where nothing was asked.
   *
   * `ask` is called when the answers before it are in and returns a request or null. Of two requests on their way at
   * once the first could be answered last, and the page would then show what is no longer true; and who presses a key
   * twice means the second time what the first has made of the clip.
   */
  inTurn(ask) {
    this.answered = this.answered.then(async () => {
      const clip = await attempt(ask);
      if (!clip) return undefined;
      this.clip = clip;
      this.paint();
      return clip;
    });
    return this.answered;
  }

  /** Show the clip as the server has it now; what is being written is not lost. */
  refresh() {
    return this.inTurn(() => getClip(this.clip.id));
  }

  /** Send what `make` returns when its turn has come, nothing if that is null, and show the clip as it is then. */
  async send(action, make = () => ({})) {
    const clip = await this.inTurn(async () => {
      const body = make();
      if (!body) return null;
      const answer = await post(`/api/clips/${this.clip.id}/${action}`, body);
      // Before the next key has its turn: it may be an undo.
      this.page.said(action, answer.id);
      return answer;
    });
    if (clip) this.page.changed();
    return clip;
  }

  /** Send the list of corrections that `make` returns when its turn has come, nothing if that is empty. */
  correct(make) {
    return this.send("corrections", () => {
      const changes = make();
      return changes.length ? { changes } : null;
    });
  }

  /** Say what the chosen person does. */
  role(role) {
    const id = this.selected;
    if (this.person) this.correct(() => [{ kind: "role", track_id: id, role }]);
  }

  /** Say that the first two fight and that the others are bystanders. */
  confirm() {
    this.correct(() => (this.clip.people.length < 2 ? [] : this.clip.people.map((person, rank) =>
      ({ kind: "role", track_id: person.id, role: rank < 2 ? "fighter" : "bystander" }))));
  }

  /** Move the chosen person up or down. */
  move(step) {
    const id = this.selected;
    this.correct(() => {
      const order = this.clip.people.map((person) => person.id);
      const from = order.indexOf(id);
      // Somebody of the rest comes in at the last place.
      if (from < 0 && step < 0 && this.person) return [{ kind: "order", track_ids: [...order, id] }];
      const to = from + step;
      if (from < 0 || to < 0 || to >= order.length) return [];
      [order[from], order[to]] = [order[to], order[from]];
      return [{ kind: "order", track_ids: order }];
    });
  }

  /** Wait for the other half of a merge or swap. */
  startPair(kind, text) {
    if (this.everyone.length < 2 || !this.person) return;
    this.pairing = kind;
    this.paint();
    say(text);
  }

  /** Wait for the other half of a merge. */
  startMerge() {
    this.startPair("merge", _("Who is the same person as ID {id}? Press that one's rank, or choose it in the list. Esc stops.",
      { id: this.selected }));
  }

  /** Wait for the other half of a swap. */
  startSwap() {
    this.startPair("swap", _("Who changes places with ID {id} from this frame on? Press that one's rank, or choose it "
      + "in the list. Esc stops.", { id: this.selected }));
  }

  /** Merge the chosen person with another, who gives up its ID. */
  mergeWith(other) {
    const into = this.selected;
    this.correct(() => [{ kind: "merge", into, other }]);
  }

  /**
   * Let the chosen person change places with another from the shown frame on: with the one that the switch shown here
   * names, else with the one whose box is nearest.
   */
  swap() {
    const { clip, selected, person } = this;
    const { frame } = this.player;
    if (!person) return;
    // A contact of several people does not say who changed places with whom; a pair does.
    const pairOf = (suspect) => (suspect.kind === "swap" ? suspect.ids.slice(0, 2) : suspect.ids);
    const named = clip.suspects.find((suspect) => suspect.frame === frame && pairOf(suspect).includes(selected)
      && pairOf(suspect).length === 2);
    const other = named ? pairOf(named).find((id) => id !== selected) : nearest(person, [...clip.people, ...clip.rest], frame);
    if (other === undefined) say(_("Nobody else is near in this frame. Shift x swaps with any person of the list."), "error");
    else this.swapWith(other);
  }

  /** Let the chosen person change places with another from the shown frame on. */
  swapWith(other) {
    const { selected } = this;
    const { frame } = this.player;
    if (frame < 1) {
      say(_("Go to the first frame after the switch, then swap."), "error");
      return;
    }
    this.correct(() => [{ kind: "swap", track_id: selected, other, frame }]);
    say(_("From frame {frame} on, ID {one} and ID {other} change places. u takes it back.", { frame, one: selected, other }));
  }

  /** Make another person of the chosen one from the shown frame on. */
  split() {
    if (!this.person) return;
    const id = this.selected;
    const { frame } = this.player;
    if (frame < 1) say(_("Go to the first frame of the other person, then split."), "error");
    else this.correct(() => [{ kind: "split", track_id: id, frame, new_id: this.clip.next_id }]);
  }

  /** Drop the chosen person. */
  drop() {
    const id = this.selected;
    this.correct(() => (this.person?.id === id ? [{ kind: "drop", track_id: id }] : []));
  }

  /** Give the clip the other label; of more than two classes one is chosen by its key. */
  async relabel() {
    const labels = Object.keys(this.clip.classes).map(Number);
    if (labels.length <= 2) {
      this.correct(() => [{ kind: "label", label: labels.find((label) => label !== this.clip.label) ?? 0 }]);
      return;
    }
    const picked = await choose(_("Label of this clip"), labels.map((label) => [label, this.labelName(label)]), this.clip.label);
    if (picked !== null) this.correct(() => [{ kind: "label", label: picked }]);
  }

  /** Take the clip out of the data set, or back into it. */
  exclude() {
    this.correct(() => [{ kind: "exclude", excluded: !this.clip.excluded }]);
  }

  /** Note that someone has looked at the clip; by key the next one follows. */
  async check(onwards) {
    const done = !onwards && this.clip.checked;
    // By key a clip that is checked already is only passed on from.
    if (onwards && this.clip.checked) this.page.neighbour(1);
    else if (await this.correct(() => [{ kind: "checked", checked: !done }]) && onwards) this.page.neighbour(1);
  }

  /** Write the note. */
  note(text) {
    this.correct(() => (text === this.clip.note ? [] : [{ kind: "note", text }]));
  }

  /** Take back what was said last, in this clip or in the one that was open before. */
  undo() {
    this.send("undo", () => {
      if (this.page.undo(this.clip.id)) return null;
      if (this.clip.history.length) return {};
      say(_("There is nothing to take back."));
      return null;
    });
  }

  /** Bring back what was taken back last. */
  redo() {
    this.send("redo", () => (this.clip.redo ? {} : null));
  }

  /** Go to the most likely switch that was not shown yet; after the last of this clip to that of the next clip. */
  nextSuspect() {
    const next = this.clip.suspects.find((suspect) => !this.visited.has(keyOf(suspect)));
    if (next) this.lookAt(next);
    else this.page.nextSuspect();
  }

  /** Show a likely switch: its frame, and the person that it names first. */
  lookAt(suspect) {
    this.visited.add(keyOf(suspect));
    if (suspect.ids.length) this.choose(suspect.ids[0]);
    this.player.step(suspect.frame - this.player.frame);
    say(suspectWords(suspect));
  }

  /** Show or fold the people who are not in the annotation. */
  unfold() {
    this.unfolded = !this.unfolded;
    if (!this.unfolded && !this.clip.people.some((person) => person.id === this.selected)) this.selected = null;
    this.paint();
  }

  /** Act on a key; returns whether it was one of this view's. */
  key(event) {
    const second = Math.round(this.clip.fps || 25);
    const digit = /^[1-9]$/.test(event.key) && this.everyone[Number(event.key) - 1];
    if (digit) {
      this.choose(digit.id);
      return true;
    }
    const action = {
      " ": () => this.player.toggle(),
      ArrowLeft: () => this.player.step(event.shiftKey ? -second : -1),
      ArrowRight: () => this.player.step(event.shiftKey ? second : 1),
      ArrowUp: () => (event.shiftKey ? this.move(-1) : this.chooseBy(-1)),
      ArrowDown: () => (event.shiftKey ? this.move(1) : this.chooseBy(1)),
      ",": () => this.player.changeSpeed(-1),
      ".": () => this.player.changeSpeed(1),
      f: () => this.role("fighter"), b: () => this.role("bystander"), q: () => this.role("unsure"),
      o: () => this.confirm(), m: () => this.startMerge(), s: () => this.split(), d: () => this.drop(),
      x: () => this.swap(), X: () => this.startSwap(), r: () => this.unfold(),
      l: () => this.relabel(), e: () => this.exclude(), c: () => this.check(true),
      t: () => document.getElementById("note").focus(),
      u: () => this.undo(), U: () => this.redo(), j: () => this.nextSuspect(),
      v: () => { this.player.showAll = !this.player.showAll; this.player.draw(); },
      n: () => this.page.neighbour(1), p: () => this.page.neighbour(-1),
      Escape: () => (this.pairing ? this.choose(this.selected) : this.page.leave()),
    }[event.key];
    if (!action) return false;
    action();
    return true;
  }
}

/** Return the time of a correction in the reader's own way of writing it. */
function when(seconds) {
  return new Date(seconds * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}

/** Return what tells one likely switch of a clip from another. */
function keyOf({ kind, frame, ids }) {
  return [kind, frame, ...ids].join(" ");
}

/** Return the ID of the other person whose box is nearest to a person's in a frame, undefined where nobody is near. */
function nearest(person, people, frame) {
  // Where the person is missing in this frame, the last place before it counts.
  let own = 0;
  for (let back = frame; back >= person.first && !own; back -= 1) own = boxAt(person, back);
  if (!own) own = person.boxes.find(Boolean);
  const middle = (box) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const far = (box) => Math.hypot(middle(box)[0] - middle(own)[0], middle(box)[1] - middle(own)[1]);
  const reach = 2 * Math.max(own[2] - own[0], own[3] - own[1]);
  return people.filter((other) => other.id !== person.id && boxAt(other, frame) && far(boxAt(other, frame)) < reach)
    .sort((a, b) => far(boxAt(a, frame)) - far(boxAt(b, frame)))[0]?.id;
}

/** Fetch a clip and make its view; see `ClipView`. */
export async function openClip(id, page) {
  return new ClipView(await getClip(id), page);
}
