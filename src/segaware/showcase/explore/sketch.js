// What is sharpened: what a file gave, and what is painted over it.
"use strict";

const ERASED = 254; // painted: unknown again
const CERTAIN = 0.95; // and more probable: not all of the filter is taken
const MOST_UNDONE = 30;

class Sketch {
  // base: {name, kind, key, labels, channels, fine}; channels [C](h * w) at the stride, and `fine` ones at all pixels,
  // are nothing where labels say it all. A class that the file does not know has no channel.
  constructor(height, width, stride) {
    Object.assign(this, {height, width, stride});
    this.reset([0, 1], null);
  }

  reset(classes, base) {
    this.classes = [...classes];
    this.base = base ?? {name: null, kind: "labels", labels: new Uint8Array(this.height * this.width).fill(UNKNOWN), channels: null};
    this.paint = new Uint8Array(this.height * this.width).fill(UNKNOWN);
    this.done = [];
    this.undone = [];
  }

  get isPainted() {
    return this.paint.some((label) => label !== UNKNOWN);
  }

  get isEmpty() {
    return !this.isPainted && this.base.name === null;
  }

  // Whether pixels are not certain, so that strength="auto" takes any of the filter.
  get isUnsure() {
    const {fine, labels} = this.base;
    return Boolean(fine) && labels.some((_, i) => fine.every((channel) => !(channel?.[i] > CERTAIN)));
  }

  // The probabilities of all pixels; null where those at the stride say it.
  get fine() {
    return this.isPainted || !this.base.fine ? null : this.classes.map((_, c) => this.base.fine[c] ?? new Float32Array(this.height * this.width));
  }

  // Before a stroke, so that it can be undone.
  begin() {
    this.done.push(this.paint.slice());
    if (this.done.length > MOST_UNDONE) this.done.shift();
    this.undone = [];
  }

  step(from, to) {
    if (!from.length) return false;
    to.push(this.paint);
    this.paint = from.pop();
    return true;
  }

  undo() {
    return this.step(this.done, this.undone);
  }

  redo() {
    return this.step(this.undone, this.done);
  }

  // What the eraser leaves: scores of the file are there again, labels are unknown.
  get eraser() {
    return this.base.channels ? UNKNOWN : ERASED;
  }

  // A stroke from one pixel [row, column] to another with a round brush.
  stroke(from, to, diameter, label) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const steps = Math.max(1, Math.ceil(length / Math.max(1, diameter / 4)));
    for (let n = 0; n <= steps; n++) {
      this.dab(from.map((start, i) => start + (to[i] - start) * n / steps), diameter / 2, label);
    }
  }

  dab([row, column], radius, label) {
    for (let y = Math.max(0, Math.ceil(row - radius)); y <= Math.min(this.height - 1, row + radius); y++) {
      const half = Math.sqrt(radius ** 2 - (y - row) ** 2);
      const first = Math.max(0, Math.ceil(column - half));
      const last = Math.min(this.width - 1, Math.floor(column + half));
      if (first <= last) this.paint.fill(label, y * this.width + first, y * this.width + last + 1);
    }
  }

  // Everything inside of an outline, [[row, column], ...], gets a class, and what has none the first one.
  fillOutline(points, label) {
    const labels = this.labels();
    for (let y = 0; y < this.height; y++) {
      const crossings = [];
      points.forEach(([y1, x1], i) => {
        const [y2, x2] = points[(i + 1) % points.length];
        if ((y1 <= y) !== (y2 <= y)) crossings.push(x1 + (y - y1) / (y2 - y1) * (x2 - x1));
      });
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        const first = Math.max(0, Math.ceil(crossings[i]));
        const last = Math.min(this.width - 1, Math.floor(crossings[i + 1]));
        if (first <= last) this.paint.fill(label, y * this.width + first, y * this.width + last + 1);
      }
    }
    labels.forEach((known, i) => {
      if (known === UNKNOWN && (this.paint[i] === UNKNOWN || this.paint[i] === ERASED)) this.paint[i] = 0;
    });
  }

  // The labels of all pixels, before they are sharpened.
  labels() {
    return this.paint.map((label, i) => (label === UNKNOWN ? this.base.labels[i] : label === ERASED ? UNKNOWN : label));
  }

  // What the filter takes: probabilities [C](h * w) at the stride, 0 for all classes where unknown.
  channels(labels) {
    const [rows, columns] = [Math.ceil(this.height / this.stride), Math.ceil(this.width / this.stride)];
    const given = this.base.channels;
    return this.classes.map((_, c) => {
      const channel = given?.[c]?.slice() ?? new Float32Array(rows * columns);
      for (let y = 0, i = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++, i++) {
          const pixel = (y * this.width + x) * this.stride;
          if (!given || this.paint[pixel] !== UNKNOWN) channel[i] = labels[pixel] === c ? 1 : 0;
        }
      }
      return channel;
    });
  }
}
