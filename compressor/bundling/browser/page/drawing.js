// The pad: strokes by mouse, touch or pen, kept as points, so that they can be undone and are drawn
// again in any size and colour.
import { trace } from "./picture.js";

/** The pen's width, in sides of the pad. */
const PEN = 0.075;
/** Points closer than this, in sides of the pad, say nothing new. */
const NEAR = 0.002;

export class Drawing {
  /** Draw on `canvas`; `onChange(empty)` is called after each change. */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    /** Lists of points {x, y}, in sides of the pad; the newest is last. */
    this.strokes = [];
    this.pointer = null;
    const listen = (name, handle) => canvas.addEventListener(name, (event) => handle.call(this, event));
    listen("pointerdown", this.#down);
    listen("pointermove", this.#move);
    listen("pointerup", this.#up);
    listen("pointercancel", this.#up);
    listen("lostpointercapture", this.#up);
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.redraw();
  }

  clear() {
    this.pointer = null;
    this.strokes = [];
    this.#changed();
  }

  undo() {
    this.pointer = null;
    this.strokes = this.strokes.slice(0, -1);
    this.#changed();
  }

  redraw() {
    const side = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
    if (this.canvas.width !== side || this.canvas.height !== side) {
      this.canvas.width = side;
      this.canvas.height = side;
    }
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    const ink = getComputedStyle(this.canvas).color;
    context.strokeStyle = ink;
    context.fillStyle = ink;
    this.strokes.forEach((stroke) => trace(context, stroke, PEN * side, (point) => [point.x * side, point.y * side]));
  }

  #down(event) {
    // One pointer draws at a time: a palm or a second finger does not.
    if (this.pointer !== null || event.button !== 0) {
      return;
    }
    event.preventDefault();
    this.pointer = event.pointerId;
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // The pointer is gone already; the stroke is a dot.
    }
    this.strokes = [...this.strokes, [this.#point(event)]];
    this.#changed();
  }

  #move(event) {
    if (event.pointerId !== this.pointer) {
      return;
    }
    const stroke = this.strokes.at(-1);
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length > 0 ? events : [event]) {
      const point = this.#point(each);
      const last = stroke.at(-1);
      if (Math.hypot(point.x - last.x, point.y - last.y) >= NEAR) {
        stroke.push(point);
      }
    }
    this.#changed();
  }

  #up(event) {
    if (event.pointerId === this.pointer) {
      this.pointer = null;
      this.#changed();
    }
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return { x: within((event.clientX - box.left) / box.width), y: within((event.clientY - box.top) / box.height) };
  }

  #changed() {
    this.redraw();
    this.onChange(this.strokes.length === 0);
  }
}
