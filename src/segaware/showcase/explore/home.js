// Files that come in, and what is taken home.
"use strict";

async function take(file, use) {
  try {
    await use(file);
  } catch (error) {
    tell(`${file.name} ${error instanceof FileProblem ? error.message : `cannot be read (${error.message})`}.`, true);
  }
}

// What is opened in the place of what is sharpened.
async function openInput(file) {
  const found = await readInput(file);
  const classes = united(truth || rival ? sketch.classes : [], found.classes); // which these have indices of
  await open(classes, renumber(found, classes));
  tell(`${file.name} is sharpened.`);
}

// The same beside it, to compare.
function openRival(found) {
  const base = addClasses(found);
  rival = new Sketch(height, width, stride);
  rival.reset(sketch.classes, base);
}

function openTruth(found) {
  truth = addClasses(found).labels;
}

function addClasses(found) {
  sketch.classes = united(sketch.classes, found.classes);
  showClasses();
  return renumber(found, sketch.classes);
}

for (const [id, use] of [
  ["open", openInput],
  ["open-photograph", openPhotograph],
  ["open-rival", async (file) => { openRival(await readInput(file)); await sharpen(); }],
  ["open-truth", async (file) => { openTruth(await readInput(file)); await sharpen(); }],
]) {
  $(id).onchange = async () => {
    if ($(id).files[0]) await take($(id).files[0], use);
    $(id).value = ""; // so that the same file can be opened again
  };
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const file = event.dataTransfer.files[0];
  if (file) take(file, async () => (await isPhotograph(file) ? openPhotograph(file) : openInput(file)));
});

// The photograph's name without its ending.
const stem = () => photo.name.replace(/\.[^.]*$/, "");

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

$("save-mask").onclick = async () => save(await labelPng(sketch.result.after), `${stem()}_labels.png`);
$("save-cutout").onclick = async () => save(await cutout(sketch.result.after), `${stem()}_cutout.png`);
$("save-input").onclick = async () => {
  const labels = sketch.labels();
  if (!sketch.base.channels) return save(await labelPng(labels), `${stem()}_drawn.png`);
  const channels = sketch.channels(labels);
  const numbers = new Float32Array(channels.length * channels[0].length);
  channels.forEach((channel, c) => numbers.set(channel, c * channel.length));
  return save(encodeNpy(numbers, [channels.length, Math.ceil(height / stride), Math.ceil(width / stride)]), `${stem()}_drawn.npy`);
};
$("copy").onclick = async () => {
  await navigator.clipboard.writeText($("python").textContent).then(() => tell("Copied."), () => tell("This browser does not let a page copy.", true));
};

// The expression that reads what is sharpened, in Python.
function pythonInput({base, isPainted}) {
  const name = isPainted ? `${stem()}_drawn.${base.channels ? "npy" : "png"}` : base.name;
  const file = JSON.stringify(name);
  const of = (arrays) => (base.key ? `${arrays}[${JSON.stringify(base.key)}]` : `next(iter(${arrays}.values()))`);
  if (name === "DeepLabV3") return "segaware.data.photograph_logits()";
  if (name.endsWith(".npz")) return of(`np.load(${file})`);
  if (name.endsWith(".safetensors")) return of(`safetensors.torch.load_file(${file})`);
  if (name.toLowerCase().endsWith(".npy")) return `np.load(${file})`;
  if (isPainted || base.kind === "labels") return `segaware.data.read_label(${file}, 255)`;
  return `segaware.data.read_image(${file})[..., 0]`; // a mask of 0 and 255
}

// What gives the same labels in Python.
function pythonLine(photo, source, how) {
  const {embedding, kernelSize, dilation, hardness, iterations, edges} = how;
  if (source.isEmpty) return "# draw something first";
  const {base, isPainted} = source;
  const bundled = ["fast", "vgg", "color", "pretrained"].includes(embedding);
  const kind = isPainted ? (base.channels ? "probabilities" : "labels") : base.kind;
  const options = [
    `kind="${kind}"${kind === "scores" || kind === "probabilities" ? ", classify=True" : ""}`,
    `${strengthOf(source, how) === "auto" ? "" : "strength=1, "}stride=${stride}`,
    `embedding=${bundled ? JSON.stringify(embedding) : `segaware.nn.load_embedding(${JSON.stringify(embedding)})`}`,
    edges
      ? `kernel_size=${kernelSize}, iterations=${iterations}, hardness=${hardness}`
      : `method=segaware.BilateralFilter2d(${kernelSize}, ${dilation}, ${iterations}, ${hardness})`,
  ];
  const size = `(${photo.width}, ${photo.height}), Image.Resampling.LANCZOS`;
  const given = pythonInput(source);
  return [
    `import numpy as np, ${given.includes("safetensors.torch.") ? "safetensors.torch, " : ""}segaware, segaware.data`,
    "",
    `image = segaware.data.read_image(${JSON.stringify(photo.name)})`,
    ...(photo.fileSize[0] === photo.height ? [] : ["from PIL import Image", `image = np.array(Image.fromarray(image).resize(${size}))`]),
    `given = ${given}`,
    "refined = segaware.refine(",
    "    image, given,",
    ...options.map((option) => `    ${option},`),
    ")",
  ].join("\n");
}

start().catch((error) => tell(`The page cannot start: ${error.message}`, true));
