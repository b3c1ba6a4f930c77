// Files that come in, and what is taken home.
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
  const points = shape.slice(-2);
  const unknown = new Uint8Array(height * width).fill(UNKNOWN);
  const labels = classify(interpolate(chosen, points, size, 1), unknown);
  return {classes: kept, base: {name: file.name, kind, labels, channels: interpolate(chosen, points, size, stride)}};
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

// Labels of the truth become indices of the classes that there are; others are added.
async function readTruth(file) {
  const {classes, base} = await readInput(file);
  for (const value of classes) if (!sketch.classes.includes(value)) sketch.classes.push(value);
  showClasses();
  return base.labels.map((index) => (index === UNKNOWN ? UNKNOWN : sketch.classes.indexOf(classes[index])));
}

async function take(file, use) {
  try {
    await use(file);
  } catch (error) {
    tell(`${file.name} ${error instanceof FileProblem ? error.message : `cannot be read (${error.message})`}.`, true);
  }
}

function openInput(file) {
  return take(file, async () => {
    const {classes, base} = await readInput(file);
    const known = truth && sketch.classes; // the truth's labels are indices of these
    await open(known ? [...known, ...classes.filter((value) => !known.includes(value))] : classes, known ? reorder(base, classes, known) : base);
    tell(`${file.name} is sharpened.`);
  });
}

function reorder(base, classes, known) {
  const all = [...known, ...classes.filter((value) => !known.includes(value))];
  const labels = base.labels.map((index) => (index === UNKNOWN ? UNKNOWN : all.indexOf(classes[index])));
  const channels = base.channels && all.map((value) => base.channels[classes.indexOf(value)]);
  return {...base, labels, channels};
}

$("open").onchange = ({target}) => target.files[0] && openInput(target.files[0]).then(() => { target.value = ""; });
$("open-truth").onchange = ({target}) => target.files[0] && take(target.files[0], async (file) => {
  truth = await readTruth(file);
  target.value = "";
  await sharpen();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) openInput(event.dataTransfer.files[0]);
});

const stem = data.name.replace(/\.[^.]*$/, "");

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  tell(`Saved ${name}.`);
}

// Labels as a PNG of class numbers, with the page's colours; 255 where unknown.
function labelPng(labels) {
  const palette = Array.from({length: 256}, (_, value) => (value === UNKNOWN ? [255, 255, 255] : colorOf(Math.max(sketch.classes.indexOf(value), 0))));
  return encodePng(labels.map((index) => (index === UNKNOWN ? UNKNOWN : sketch.classes[index])), height, width, palette);
}

// The photograph, transparent where it is the first class or unknown.
function cutout(labels) {
  const context = look.photograph.getContext("2d");
  const pixels = context.getImageData(0, 0, width, height).data;
  labels.forEach((index, i) => { pixels[4 * i + 3] = index === 0 || index === UNKNOWN ? 0 : 255; });
  return encodePng(pixels, height, width);
}

$("save-mask").onclick = async () => save(await labelPng(result.after), `${stem}_labels.png`);
$("save-cutout").onclick = async () => save(await cutout(result.after), `${stem}_cutout.png`);
$("save-input").onclick = async () => {
  const labels = sketch.labels();
  if (!sketch.base.channels) return save(await labelPng(labels), `${stem}_drawn.png`);
  const channels = sketch.channels(labels);
  const numbers = new Float32Array(channels.length * channels[0].length);
  channels.forEach((channel, c) => numbers.set(channel, c * channel.length));
  return save(encodeNpy(numbers, [channels.length, Math.ceil(height / stride), Math.ceil(width / stride)]), `${stem}_drawn.npy`);
};
$("copy").onclick = async () => {
  await navigator.clipboard.writeText($("python").textContent).then(() => tell("Copied."), () => tell("This browser does not let a page copy.", true));
};

// The expression that reads what is sharpened, in Python.
function pythonInput({base, isPainted}) {
  const file = JSON.stringify(isPainted ? `${stem}_drawn.${base.channels ? "npy" : "png"}` : base.name);
  if (!isPainted && base.name === "DeepLabV3") return "segaware.data.photograph_logits()";
  if (file.endsWith('.npy"')) return `np.load(${file})`;
  if (isPainted || base.kind === "labels") return `segaware.data.read_label(${file}, 255)`;
  return `segaware.data.read_image(${file})[..., 0]`; // a mask of 0 and 255
}

// What gives the same labels in Python.
function pythonLine(photo, source, {embedding, kernelSize, dilation, hardness, iterations, edges}) {
  if (source.isEmpty) return "# draw something first";
  const {base, isPainted} = source;
  const bundled = ["fast", "vgg", "color", "pretrained"].includes(embedding);
  const kind = isPainted ? (base.channels ? "probabilities" : "labels") : base.kind;
  const options = [
    `kind="${kind}"${kind === "scores" || kind === "probabilities" ? ", classify=True" : ""}, strength=1, stride=${stride}`,
    `embedding=${bundled ? JSON.stringify(embedding) : `segaware.nn.load_embedding(${JSON.stringify(embedding)})`}`,
    edges
      ? `kernel_size=${kernelSize}, iterations=${iterations}, hardness=${hardness}`
      : `method=segaware.BilateralFilter2d(${kernelSize}, ${dilation}, ${iterations}, ${hardness})`,
  ];
  const size = `(${photo.width}, ${photo.height}), Image.Resampling.LANCZOS`;
  return [
    "import numpy as np, segaware, segaware.data",
    "",
    `image = segaware.data.read_image(${JSON.stringify(photo.name)})`,
    ...(photo.fileSize[0] === photo.height ? [] : ["from PIL import Image", `image = np.array(Image.fromarray(image).resize(${size}))`]),
    `given = ${pythonInput(source)}`,
    "refined = segaware.refine(",
    "    image, given,",
    ...options.map((option) => `    ${option},`),
    ")",
  ].join("\n");
}

start().catch((error) => tell(`The page cannot start: ${error.message}`, true));
