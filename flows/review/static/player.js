// The overlay video, with the frame number at any moment and the boxes of corrected people above the picture.

import { el } from "./api.js";
import { roleWord } from "./charts.js";
import { _ } from "./words.js";

/** Return the address of a clip's overlay video, another one for each time that it was drawn; null without one. */
function addressOf(clip) {
  return clip.video ? `/videos/${clip.id}?v=${clip.video}` : null;
}

/** Return a person's box in a frame, 0 or undefined where there is none; boxes start at the person's first frame. */
export function boxAt(person, frame) {
  return person?.boxes[frame - person.first];
}

/**
 * Return the player of a clip.
 *
 * `onframe` is called with the frame whenever another one is shown. Frames are counted as time times frame rate: in a
 * clip of variable rate the number can be some frames off, as browsers tell times only.
 */
export class Player {
  constructor(clip, onframe) {
    this.clip = clip;
    this.frame = 0;
    this.showAll = false;
    this.selected = null;
    this.onframe = onframe;
    this.video = el("video", { src: addressOf(clip), muted: true, playsinline: true,
      preload: "auto", "aria-label": _("Overlay video") });
    // Attribute alone is not enough: a browser refuses to play a video that might sound without a press.
    this.video.muted = true;
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.words = el("span", { class: "words" }, clip.video ? _("Preparing the video") : _("No overlay video"));
    this.counter = el("output", { class: "counter" });
    this.button = el("button", { type: "button", onclick: () => this.toggle() }, _("Play"));
    this.speed = el("select", { "aria-label": _("Speed"), onchange: () => { this.video.playbackRate = Number(this.speed.value); } },
      [0.1, 0.25, 0.5, 1, 2].map((rate) => el("option", { value: rate, selected: rate === 1 }, `${rate} x`)));
    this.slider = el("input", { type: "range", min: 0, max: Math.max(clip.frames - 1, 0), value: 0, step: 1,
      "aria-label": _("Frame"), oninput: () => this.seek(Number(this.slider.value)) });
    this.listen();
    this.node = el("div", { class: "player" },
      el("div", { class: "theatre" },
        el("div", { class: "screen", style: { "aspect-ratio": `${clip.width || 16} / ${clip.height || 9}` } },
          this.video, this.canvas, this.words)),
      el("div", { class: "transport" }, this.button,
        el("button", { type: "button", title: _("Previous frame"), onclick: () => this.step(-1) }, "- 1"),
        el("button", { type: "button", title: _("Next frame"), onclick: () => this.step(1) }, "+ 1"),
        this.slider, this.counter, this.speed));
    this.show(0);
  }

  /** Follow the video. */
  listen() {
    const video = this.video;
    video.addEventListener("loadeddata", () => { this.words.hidden = true; this.draw(); });
    video.addEventListener("error", () => { this.words.hidden = false; this.words.textContent = _("The video cannot be played"); });
    video.addEventListener("play", () => { this.button.textContent = _("Pause"); this.follow(); });
    video.addEventListener("pause", () => { this.button.textContent = _("Play"); });
    video.addEventListener("seeked", () => this.show(this.frameAt(video.currentTime)));
    video.loop = true;
  }

  /** Return the frame of a time; a hundredth of a frame is added, as times of frames are rounded. */
  frameAt(time) {
    return Math.min(Math.max(Math.floor(time * this.clip.fps + 0.01), 0), Math.max(this.clip.frames - 1, 0));
  }

  /** Tell every new frame while the video plays. */
  follow() {
    const again = (_, shown) => {
      if (!this.node.isConnected) return;
      this.show(this.frameAt(shown?.mediaTime ?? this.video.currentTime));
      if (!this.video.paused) next();
    };
    // Called for each frame that is really shown; where a browser lacks it, for each repaint.
    const next = () => (this.video.requestVideoFrameCallback
      ? this.video.requestVideoFrameCallback(again) : requestAnimationFrame(() => again(0, null)));
    next();
  }

  /** Take a frame as the one that is shown. */
  show(frame) {
    this.frame = frame;
    this.counter.textContent = _("frame {frame} of {frames}", { frame, frames: this.clip.frames });
    this.slider.value = frame;
    this.draw();
    this.onframe(frame);
  }

  /** Go to a frame; its middle, as its edges belong to two frames. */
  seek(frame) {
    const wanted = Math.min(Math.max(frame, 0), this.clip.frames - 1);
    if (this.video.readyState) this.video.currentTime = (wanted + 0.5) / this.clip.fps;
    this.show(wanted);
  }

  /** Stop and go some frames on. */
  step(frames) {
    this.video.pause();
    this.seek(this.frame + frames);
  }

  /** Play or stop. */
  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  /** Play faster or slower by one step. */
  changeSpeed(step) {
    const next = Math.min(Math.max(this.speed.selectedIndex + step, 0), this.speed.options.length - 1);
    this.speed.selectedIndex = next;
    this.video.playbackRate = Number(this.speed.value);
  }

  /** Take over the clip as corrected, and its video where that was drawn again. */
  update(clip, selected) {
    const redrawn = clip.video && clip.video !== this.clip.video;
    this.clip = clip;
    if (redrawn) {
      const { frame } = this;
      this.video.addEventListener("loadedmetadata", () => this.seek(frame), { once: true });
      this.video.src = addressOf(clip);
    }
    this.selected = selected;
    this.draw();
  }

  /** Draw the box of the chosen person, or of everyone, with rank and role as corrected. */
  draw() {
    const { canvas, clip } = this;
    if (canvas.width !== clip.width && clip.width) [canvas.width, canvas.height] = [clip.width, clip.height];
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    // One pixel of the screen, so that lines and text look alike on every size of video.
    const unit = canvas.width / Math.max(canvas.clientWidth, 1);
    [...clip.people, ...clip.rest].forEach((person, rank) => {
      const box = boxAt(person, this.frame);
      const chosen = person.id === this.selected;
      // People who are not in the annotation show only where they are chosen: in a crowd they would hide the rest.
      if (!box || !(chosen || (this.showAll && rank < clip.people.length))) return;
      const [left, top, right, bottom] = box;
      pen.lineWidth = (chosen ? 2.5 : 1.5) * unit;
      pen.strokeStyle = person.color;
      pen.setLineDash(chosen ? [] : [6 * unit, 4 * unit]);
      pen.strokeRect(left, top, right - left, bottom - top);
      if (!this.showAll) return;
      pen.font = `600 ${Math.round(12 * unit)}px system-ui, sans-serif`;
      const place = rank < clip.people.length ? rank + 1 : _("rest");
      const text = `${place}  ID ${person.id}${person.role ? `  ${roleWord(person.role)}` : ""}`;
      const wide = pen.measureText(text).width + 10 * unit;
      // Below the box: the video's own labels are above it.
      const y = Math.min(bottom, clip.height - 18 * unit);
      const x = Math.max(Math.min(left, canvas.width - wide), 0);
      pen.fillStyle = "rgba(0, 0, 0, 0.75)";
      pen.fillRect(x, y, wide, 18 * unit);
      pen.fillStyle = person.color;
      pen.fillText(text, x + 5 * unit, y + 13 * unit);
    });
  }

  /** Return the ID of the person at a point of the screen, the smallest box first; null where there is nobody. */
  personAt(event) {
    const area = this.canvas.getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width * this.clip.width;
    const y = (event.clientY - area.top) / area.height * this.clip.height;
    const hit = [...this.clip.people, ...this.clip.rest].map((person) => [person, boxAt(person, this.frame)])
      .filter(([, box]) => box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3])
      .sort(([, a], [, b]) => (a[2] - a[0]) * (a[3] - a[1]) - (b[2] - b[0]) * (b[3] - b[1]));
    return hit.length ? hit[0][0].id : null;
  }
}
