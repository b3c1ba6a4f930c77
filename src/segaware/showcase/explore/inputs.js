// What is sharpened and what is true, from files: {classes, base}, of which `sketch.js` says what it is.
"use strict";

// Labels, a mask or scores of any size become what is sharpened: {classes, base}.
async function readInput(file) {
  const size = [height, width];
  if (file.name.toLowerCase().endsWith(".png")) {
    const {kind, labels, ...points} = await readLabelPng(file);
    return fromLabels(file.name, kind, labels, [points.height, points.width], size);
  }
  if (!file.name.toLowerCase().endsWith(".npy")) throw new FileProblem("must be a .png of labels or a mask, or a .npy of scores");
  const array = await readNpy(file);
  const {shape, type, numbers} = array;
  if (shape.length !== 2 && shape.length !== 3 || !numbers.length) throw new FileProblem(`must be (h, w) or (C, h, w), not (${shape.join(", ")})`);
  if (!type.includes("f")) {
    if (shape.length === 3) throw new FileProblem("must hold floating-point numbers if it has three dimensions");
    if (numbers.some((value) => value < 0 || value > 255)) throw new FileProblem("must hold labels of 0 to 254, and 255 where unknown");
    return fromLabels(file.name, type === "|b1" ? "masks" : "labels", Uint8Array.from(numbers), shape, size);
  }
  const {kind, channels} = toProbabilities(array);
  const kept = contenders(channels);
  if (kept.length > 32) throw new FileProblem(`has ${kept.length} classes, and the page takes up to 32`);
  const chosen = kept.map((c) => channels[c]);
  return {classes: kept, base: fromProbabilities(file.name, kind, chosen, shape.slice(-2), size)};
}

function fromProbabilities(name, kind, given, points, size) {
  const fine = interpolate(given, points, size, 1);
  const labels = classify(fine, new Uint8Array(height * width).fill(UNKNOWN));
  return {name, kind, labels, channels: interpolate(given, points, size, stride), fine};
}

// What page.py packed, likewise.
async function unpackSketch({name, kind, key, classes, points, content}) {
  const bytes = await unpack(content);
  if (kind === "labels") return {classes, base: {name, kind, key, labels: bytes, channels: null}};
  const count = points[0] * points[1];
  const sums = Float32Array.from({length: count}, (_, i) => classes.reduce((sum, _, c) => sum + bytes[c * count + i], 0));
  const given = classes.map((_, c) => sums.map((sum, i) => bytes[c * count + i] / sum));
  return {classes, base: {...fromProbabilities(name, kind, given, points, [height, width]), key}};
}

function fromLabels(name, kind, labels, points, size) {
  const proportion = points[0] / points[1] / (size[0] / size[1]);
  if (proportion < 0.95 || proportion > 1.05) {
    throw new FileProblem(`is ${points[1]} x ${points[0]} (width x height), and the photograph ${size[1]} x ${size[0]}`);
  }
  const classes = [...new Set(labels)].filter((value) => value !== UNKNOWN).sort((a, b) => a - b);
  if (!classes.length || classes.length > 32) throw new FileProblem(`has ${classes.length} classes, and the page takes 1 to 32`);
  const index = new Uint8Array(256).fill(UNKNOWN);
  classes.forEach((value, i) => { index[value] = i; });
  const resized = resizeLabels(labels.map((value) => index[value]), points, size);
  return {classes, base: {name, kind, labels: resized, channels: null}};
}

// Some classes, and others that are not among them.
const united = (classes, others) => [...classes, ...others.filter((value) => !classes.includes(value))];

// The same with indices of other classes, among which are all of its own.
function renumber({classes, base}, all) {
  const index = classes.map((value) => all.indexOf(value));
  const labels = base.labels.map((own) => (own === UNKNOWN ? UNKNOWN : index[own]));
  const [channels, fine] = [base.channels, base.fine].map((each) => each && all.map((value) => each[classes.indexOf(value)]));
  return {...base, labels, channels, fine};
}
