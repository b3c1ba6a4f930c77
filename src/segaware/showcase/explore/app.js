// The page: settings, what is sharpened and how, and what is told of it.
"use strict";

const data = JSON.parse($("data").textContent);
const {stride} = data;
let photo = data; // what is known of the photograph that is shown
let {height, width} = data;
const waiting = new Map();
let questions = 0;

function beginWorker(...sources) {
  const worker = new Worker(URL.createObjectURL(new Blob(sources, {type: "text/javascript"})));
  worker.onmessage = ({data: {number, answer, error}}) => {
    const {resolve, reject} = waiting.get(number);
    waiting.delete(number);
    error ? reject(new Error(error)) : resolve(answer);
  };
  return worker;
}

function ask(worker, question, content) {
  return new Promise((resolve, reject) => {
    waiting.set(++questions, {resolve, reject});
    worker.postMessage({number: questions, question, content});
  });
}

// Two, so that a look does not wait for a filter.
const [lookWorker, filterWorker] = [0, 1].map(() => beginWorker($("shared").textContent, $("worker").textContent));
const hardnesses = {color: 1.76}; // of each embedding, at first as refine's defaults
const stage = new Stage(height, width, stride);
let sketch = new Sketch(height, width, stride);
const look = new Look(stage, settings);
let rival = null; // what is compared with the sketch
let truth = null;
let results = []; // of the sketch and its rival, {name, before, after}
let tool = "look";
let label = 1; // index of the class that is drawn

function settings() {
  const [kernelSize, dilation, iterations] = ["kernel-size", "dilation", "iterations"].map((id) => $(id).valueAsNumber);
  const embedding = $("embedding").value;
  const edges = $("edges").checked && dilation === 1; // as in refine, whose layer with a dilation is all that is done
  const strength = edges && $("auto").checked ? "auto" : 1; // likewise
  return {embedding, hardness: hardnesses[embedding], hardnesses, kernelSize, dilation, iterations, edges, strength};
}

function tell(text, problem = false) {
  $("status").textContent = text;
  $("status").classList.toggle("problem", problem);
}

// Sharpens what is there now. While that is being done, only the newest wish waits.
let sharpening = false;
let sharpenAgain = false;
async function sharpen() {
  $("undo").disabled = !sketch.done.length;
  $("redo").disabled = !sketch.undone.length;
  for (const id of ["save-mask", "save-cutout", "save-input", "clear"]) $(id).disabled = sketch.isEmpty;
  $("python").textContent = pythonLine(photo, sketch, settings());
  sharpenAgain = true;
  if (sharpening) return;
  sharpening = true;
  try {
    while (sharpenAgain) {
      sharpenAgain = false;
      await sharpenOnce();
    }
  } catch (error) {
    tell(`This cannot be sharpened: ${error.message}`, true);
  }
  sharpening = false;
}

async function sharpenOnce() {
  const {hardnesses: _, ...how} = settings();
  const found = [];
  let milliseconds = 0;
  for (const source of [sketch, rival]) {
    if (!source || source.isEmpty) continue;
    if (source === sketch || source.result?.how !== JSON.stringify(how)) milliseconds += await sharpenOf(source, how);
    found.push(source.result);
  }
  results = found;
  showSides();
  draw();
  if (sharpenAgain) return undefined;
  if (results.length) tell(`Sharpened in ${Math.round(milliseconds)} ms.`);
  return showScores();
}

async function sharpenOf(source, how) {
  const before = source.labels();
  const channels = source.channels(before);
  const strength = strengthOf(source, how);
  const fine = strength === "auto" ? source.fine : null;
  const {labels, milliseconds} = await ask(filterWorker, "sharpen", {...how, channels, fine, own: before, strength});
  source.result = {name: source.base.name, before, after: labels, how: JSON.stringify(how)};
  return milliseconds;
}

// Labels are certain, also if they are wrong.
const strengthOf = ({base}, {strength}) => (base.channels ? strength : 1);

// What can be seen on the left and on the right: each result before and after.
function showSides() {
  $("sides").hidden = !results.length;
  const sides = results.flatMap(({name}, i) => ["given", "sharpened"].map((when) => (results.length < 2 ? when : `${name ?? "drawn"}, ${when}`)));
  const chosen = results.length < 2 ? [0, 1] : [1, 3];
  ["left-side", "right-side"].forEach((id, i) => {
    const options = sides.map((side, n) => new Option(side, n));
    const same = sides.length && sides.join() === Array.from($(id).options, (option) => option.text).join();
    if (same) return;
    $(id).replaceChildren(...options);
    $(id).value = chosen[i];
  });
}

function draw() {
  if (!results.length) return stage.clear();
  const shownTruth = $("errors").checked ? truth : null;
  const sides = results.flatMap(({before, after}) => [before, after]);
  for (const id of ["left", "right"]) stage.drawLabels(id, sides[$(`${id}-side`).value], shownTruth);
}

async function showScores() {
  $("errors-choice").hidden = !truth || !results.length;
  const box = $("scores");
  if (!truth || !results.length) {
    box.textContent = truth ? "Draw something, or open scores, to compare with the truth." : "With true labels, the page "
      + "shows the IoU of what is drawn and of what is made of it.";
    return;
  }
  const predictions = results.flatMap(({before, after}) => [before, after]);
  const found = await ask(filterWorker, "score", {predictions, truth, count: sketch.classes.length});
  const tables = results.map(({name}, i) => scoreTable(results.length < 2 ? "" : `${name ?? "drawn"}: `, found.slice(2 * i, 2 * i + 2)));
  box.replaceChildren(...tables);
}

// found: scores before and after.
function scoreTable(title, found) {
  const percent = (value) => (Number.isNaN(value) ? "-" : (100 * value).toFixed(1));
  const mean = (values) => {
    const known = values.filter((value) => !Number.isNaN(value));
    return known.reduce((a, b) => a + b, 0) / known.length;
  };
  const row = (name, pick) => [name, ...["iou", "boundaryIou"].flatMap((kind) => found.map((each) => percent(pick(each[kind]))))];
  const rows = sketch.classes.map((name, c) => row(`class ${name}`, (values) => values[c]));
  const table = document.createElement("table");
  table.createCaption().textContent = `${title}percent, before → after`;
  const fill = (line, cells, tag) => cells.forEach((text, i) => {
    const cell = document.createElement(i && tag === "td" ? "td" : "th");
    cell.scope = tag === "td" ? "row" : "col";
    if (i) cell.className = "number";
    cell.textContent = text;
    line.append(cell);
  });
  const paired = ([name, a, b, c, d]) => [name, `${a} → ${b}`, `${c} → ${d}`];
  fill(table.createTHead().insertRow(), ["", "IoU", "boundary IoU"], "th");
  const body = table.createTBody();
  for (const line of [...rows, row("mean", mean)]) fill(body.insertRow(), paired(line), "td");
  return table;
}

function showClasses() {
  const box = $("classes");
  box.replaceChildren(box.firstElementChild);
  sketch.classes.forEach((name, index) => {
    const choice = document.createElement("label");
    const input = Object.assign(document.createElement("input"), {type: "radio", name: "class", checked: index === label});
    input.onchange = () => { label = index; };
    const text = document.createElement("span");
    const color = document.createElement("i");
    color.style.background = `rgb(${colorOf(index)})`;
    text.append(color, truth || sketch.base.name !== null || index > 1 ? String(name) : ["ground", "object"][index]);
    choice.append(input, text);
    box.append(choice);
  });
  if (sketch.classes.length < 10) {
    const more = Object.assign(document.createElement("button"), {type: "button", textContent: "+", ariaLabel: "Add a class"});
    more.onclick = () => {
      sketch.classes.push(Math.max(...sketch.classes) + 1);
      label = sketch.classes.length - 1;
      showClasses();
    };
    box.append(more);
  }
}

function open(classes, base) {
  sketch.reset(classes, base);
  $("auto").checked = sketch.isUnsure;
  showSettings();
  label = Math.min(1, sketch.classes.length - 1);
  showClasses();
  return sharpen();
}

function showSettings() {
  $("hardness").value = hardnesses[$("embedding").value];
  $("hardness").nextElementSibling.textContent = hardnesses[$("embedding").value];
  for (const id of ["kernel-size", "dilation", "iterations"]) $(id).nextElementSibling.textContent = $(id).value;
  $("edges").disabled = $("dilation").valueAsNumber > 1;
  $("auto").disabled = !settings().edges || !sketch.base.channels;
}

// Shows a photograph, as page.py describes it; `source` is its picture.
async function show(newPhoto, source) {
  while (sharpening) await new Promise((done) => setTimeout(done, 20)); // what comes of it is of another size
  photo = newPhoto;
  ({height, width} = photo);
  stage.resize(height, width);
  sketch = new Sketch(height, width, stride);
  [truth, rival] = [null, null];
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(source, 0, 0, width, height);
  look.open(canvas);
  const content = {height, width, stride, rgba: context.getImageData(0, 0, width, height).data, embeddings: photo.embeddings};
  const opened = Promise.all([lookWorker, filterWorker].map((worker) => ask(worker, "open", content)));
  $("name").textContent = photo.name;
  $("about").textContent = `${width} x ${height} pixels` + (photo.fileSize[0] === height ? "." : `, reduced from ${photo.fileSize[1]} x ${photo.fileSize[0]}.`);
  const names = [...photo.embeddings.map((each) => each.name), "color"];
  for (const name of names) hardnesses[name] ??= 1;
  $("embedding").replaceChildren(...names.map((name) => new Option(name === "color" ? "colour" : name, name)));
  const pictures = photo.embeddings.filter((each) => each.picture).map((each) => new Option(`embedding ${each.name} (PCA)`, each.picture));
  $("show").replaceChildren(new Option("photograph", source.src), ...pictures);
  stage.setPicture(source.src);
  showSettings();
  showClasses();
  const [known, given, other] = await Promise.all([photo.truth, ...photo.sketches].map((packed) => packed && unpackSketch(packed)));
  await opened;
  sketch.reset(given?.classes ?? known?.classes ?? [0, 1], null);
  if (known) openTruth(known);
  if (other) openRival(other);
  await Promise.all([open(sketch.classes, given && renumber(given, sketch.classes)), look.show()]);
  if (!given) {
    const {hardnesses: _, ...how} = settings();
    ask(filterWorker, "prepare", how);
  }
}

async function start() {
  const source = $("photograph").cloneNode();
  await source.decode();
  $("photograph-choice").hidden = !data.model;
  await show(data, source);
  document.body.dataset.ready = "yes";
}
