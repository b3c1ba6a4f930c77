// What lies under the cursor: the window, the mask of the learned embedding beside that of colour, and distances along
// a line.
"use strict";

// Of the weights that a worker gives, those of the points that can have any, in a square around the pixel; 1 is the most.
function spread({weights, top, left, height, width}, [row, column], taps, dilation) {
  const most = weights.reduce((a, b) => Math.max(a, b), 0);
  const values = new Float32Array((2 * taps + 1) ** 2);
  for (let y = -taps, i = 0; y <= taps; y++) {
    for (let x = -taps; x <= taps; x++, i++) {
      const [r, c] = [row + y * dilation - top, column + x * dilation - left];
      if (r >= 0 && r < height && c >= 0 && c < width) values[i] = weights[r * width + c] / most;
    }
  }
  return values;
}

class Look {
  constructor(stage, settings) {
    Object.assign(this, {stage, settings, busy: false, again: false});
  }

  // Looks at a photograph, from its middle; the picture on the stage may be another one.
  open(photograph) {
    Object.assign(this, {photograph, pixel: [this.stage.height >> 1, this.stage.width >> 1]});
  }

  // Shows the pixel [row, column] as soon as the worker has answered; of several, the newest.
  async show(pixel = this.pixel) {
    this.pixel = pixel;
    this.again = true;
    if (this.busy) return;
    this.busy = true;
    while (this.again) {
      this.again = false;
      await this.draw(this.pixel);
    }
    this.busy = false;
  }

  async draw(pixel) {
    const {kernelSize, dilation, iterations} = this.settings();
    const passes = $("passes").checked ? iterations : 1;
    const taps = passes * (kernelSize - 1) / 2;
    const point = pixel.map((place) => Math.floor(place / this.stage.stride));
    this.stage.markWindow(point, taps * dilation);
    const shape = {kernelSize, dilation, iterations: passes};
    const looks = this.compared().map((each) => ({...each, ...shape}));
    const found = await ask(lookWorker, "look", {row: point[0], column: point[1], looks});
    const values = found.map((each) => spread(each, point, taps, dilation));
    ["learned", "color"].forEach((id, i) => drawGray($(id), values[i], 2 * taps + 1));
    this.drawWindow(point, taps * dilation);
    this.shown = {pixel, values};
    this.tell(pixel, values);
  }

  // The embeddings whose masks stand side by side, with their hardnesses.
  compared() {
    const {embedding, hardnesses} = this.settings();
    const learned = embedding === "color" ? Object.keys(hardnesses)[0] : embedding;
    return [learned, "color"].map((name) => ({embedding: name, hardness: hardnesses[name]}));
  }

  drawWindow([row, column], reach) {
    const canvas = $("window");
    const side = (2 * reach + 1) * this.stage.stride;
    const size = Math.min(side, 360); // that of no screen's column is larger
    Object.assign(canvas, {width: size, height: size});
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = side > size;
    const [left, top] = [(column - reach) * this.stage.stride, (row - reach) * this.stage.stride];
    context.drawImage(this.photograph, left, top, side, side, 0, 0, size, size);
  }

  tell([row, column], values) {
    const parts = values.map((each) => Math.round(100 * each.reduce((a, b) => a + b, 0) / each.length));
    $("looked").textContent = `Row ${row}, column ${column}. White counts fully, black not at all; on average the window `
      + `counts ${parts[0]} % learned and ${parts[1]} % by colour.`;
  }

  async profile(from, to) {
    const {stage} = this;
    stage.markRuler(from, to);
    const steps = Math.max(1, Math.round(Math.hypot(to[0] - from[0], to[1] - from[1]) / stage.stride));
    const pixels = Array.from({length: steps + 1}, (_, n) =>
      from.map((start, i) => Math.floor((start + (to[i] - start) * n / steps) / stage.stride)));
    const compared = this.compared();
    const distances = await ask(lookWorker, "profile", {pixels, embeddings: compared.map((each) => each.embedding)});
    $("profile").hidden = false;
    drawChart(distances.map((line, i) => line.map((value) => value * compared[i].hardness)), steps * stage.stride);
  }
}

// Two lines, "learned" and "color", over pixels.
function drawChart(lines, length) {
  const chart = $("chart");
  chart.replaceChildren();
  const highest = Math.max(1, ...lines.flat());
  const at = (n, value) => [30 + 262 * n / Math.max(lines[0].length - 1, 1), 108 - 98 * value / highest];
  const add = (name, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    set(element, attributes);
    element.textContent = text;
    chart.append(element);
  };
  for (const value of [0, highest / 2, highest]) {
    const y = at(0, value)[1];
    add("line", {x1: 30, x2: 292, y1: y, y2: y});
    add("text", {x: 26, y: y + 3, "text-anchor": "end"}, value.toFixed(1));
  }
  add("text", {x: 30, y: 124}, "0");
  add("text", {x: 292, y: 124, "text-anchor": "end"}, `${length} px`);
  ["learned", "color"].forEach((name, i) => {
    add("polyline", {class: name, points: lines[i].map((value, n) => at(n, value).map((v) => v.toFixed(1)).join()).join(" ")});
  });
}
