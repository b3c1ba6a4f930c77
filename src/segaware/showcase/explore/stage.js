// The photograph with what lies on it: labels before and after, the window under the cursor, strokes.
"use strict";

// Of classes, as VOC's palette; the first is darkness, so that the others stand out.
const PALETTE = [[0, 0, 0], [0, 140, 220], [230, 120, 0], [0, 160, 90], [200, 60, 160], [150, 110, 0], [110, 90, 220], [90, 150, 150]];
const WRONG = [235, 30, 40];
const colorOf = (index) => (index ? PALETTE[1 + (index - 1) % (PALETTE.length - 1)] : PALETTE[0]);
const $ = (id) => document.getElementById(id);

class Stage {
  constructor(height, width, stride) {
    this.stride = stride;
    this.element = $("stage");
    this.panes = [this.element, $("twin")]; // the second one shows the right side, if that is apart
    this.resize(height, width);
  }

  resize(height, width) {
    Object.assign(this, {height, width});
    $("panes").style.setProperty("--proportion", width / height);
    for (const id of ["left", "right"]) Object.assign($(id), {width, height});
    for (const svg of document.querySelectorAll("svg.layer")) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  // The pixel [row, column] under a pointer, within the photograph.
  at(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top) / box.height * this.height);
    const column = Math.floor((event.clientX - box.left) / box.width * this.width);
    return [Math.min(Math.max(row, 0), this.height - 1), Math.min(Math.max(column, 0), this.width - 1)];
  }

  // Shows the picture under everything else.
  setPicture(source) {
    for (const pane of this.panes) pane.querySelector("img").src = source;
  }

  // Whether the two sides lie on a photograph each.
  setApart(isApart) {
    $("panes").classList.toggle("apart", isApart);
    $("twin").hidden = !isApart;
    (isApart ? $("twin").querySelector("svg") : $("left").nextElementSibling).before($("right"));
  }

  // Lays colours of labels over the photograph, full ones where another label begins; where there is a truth to show
  // errors of, wrong pixels are red.
  drawLabels(id, labels, truth) {
    $("panes").classList.remove("bare");
    const {width, height} = this;
    const picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    const rgba = ([r, g, b], alpha) => new Uint32Array(Uint8Array.of(r, g, b, alpha).buffer)[0];
    const colors = Uint32Array.from({length: 256}, (_, i) => rgba(colorOf(i), i ? 70 : 150));
    const borders = Uint32Array.from({length: 256}, (_, i) => rgba(colorOf(i), 255));
    colors[UNKNOWN] = borders[UNKNOWN] = 0;
    const wrong = rgba(WRONG, 220);
    for (let row = 0, i = 0; row < height; row++) {
      for (let column = 0; column < width; column++, i++) {
        const label = labels[i];
        const ends = (column + 1 < width && labels[i + 1] !== label) || (column && labels[i - 1] !== label)
          || (row + 1 < height && labels[i + width] !== label) || (row && labels[i - width] !== label);
        pixels[i] = truth && truth[i] !== UNKNOWN && truth[i] !== label ? wrong : ends && label ? borders[label] : colors[label];
      }
    }
    $(id).getContext("2d").putImageData(picture, 0, 0);
  }

  clear() {
    $("panes").classList.add("bare");
    for (const id of ["left", "right"]) $(id).getContext("2d").clearRect(0, 0, this.width, this.height);
  }

  // The window of a pixel, of points at the stride; `reach` points in each direction.
  markWindow([row, column], reach) {
    const box = {
      x: (column - reach) * this.stride, y: (row - reach) * this.stride,
      width: (2 * reach + 1) * this.stride, height: (2 * reach + 1) * this.stride,
    };
    for (const rect of $("seen").children) set(rect, box);
  }

  markTip(pixel, diameter) {
    set("tip", pixel ? {cx: pixel[1] + 0.5, cy: pixel[0] + 0.5, r: diameter / 2} : {r: 0});
  }

  markStroke(points) {
    set("stroke", {points: points.map(([row, column]) => `${column},${row}`).join(" ")});
  }

  markRuler(from, to) {
    set("ruler", {x1: from[1], y1: from[0], x2: to[1], y2: to[0]});
  }
}

function set(element, attributes) {
  const found = typeof element === "string" ? $(element) : element;
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
}

// Draws numbers 0..1 in gray, each as a square.
function drawGray(canvas, values, side) {
  Object.assign(canvas, {width: side, height: side});
  const picture = new ImageData(side, side);
  values.forEach((value, i) => {
    const gray = Math.round(255 * value);
    picture.data.set([gray, gray, gray, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
