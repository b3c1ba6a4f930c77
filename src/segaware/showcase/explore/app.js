// The page: settings, tools, files, and what is told of the result.
"use strict";

const data = JSON.parse($("data").textContent);
const {height, width, stride} = data;
const workerSource = URL.createObjectURL(new Blob([$("worker").textContent], {type: "text/javascript"}));
const [lookWorker, filterWorker] = [0, 1].map(() => new Worker(workerSource)); // a look does not wait for a filter
const waiting = new Map();
let questions = 0;

function ask(worker, question, content) {
  return new Promise((resolve, reject) => {
    waiting.set(++questions, {resolve, reject});
    worker.postMessage({number: questions, question, content});
  });
}

for (const worker of [lookWorker, filterWorker]) {
  worker.onmessage = ({data: {number, answer, error}}) => {
    const {resolve, reject} = waiting.get(number);
    waiting.delete(number);
    error ? reject(new Error(error)) : resolve(answer);
  };
}

const names = [...data.embeddings.map((each) => each.name), "color"];
const hardnesses = Object.fromEntries(names.map((name) => [name, name === "color" ? 1.76 : 1])); // as refine's defaults
const photograph = $("photograph");
const stage = new Stage(height, width, stride);
const sketch = new Sketch(height, width, stride);
const look = new Look(stage, photograph, settings);
let truth = null;
let result = null; // labels after the filter
let tool = "look";
let label = 1; // index of the class that is drawn

function settings() {
  const [kernelSize, dilation, iterations] = ["kernel-size", "dilation", "iterations"].map((id) => $(id).valueAsNumber);
  const embedding = $("embedding").value;
  const edges = $("edges").checked && dilation === 1; // as in refine, whose layer with a dilation is all that is done
  return {embedding, hardness: hardnesses[embedding], hardnesses, kernelSize, dilation, iterations, edges};
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
  for (const id of ["save-mask", "save-cutout", "save-input", "clear", "wipe"]) $(id).disabled = sketch.isEmpty;
  $("python").textContent = pythonLine(data, sketch, settings());
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
  if (sketch.isEmpty) {
    result = null;
    stage.clear();
    stage.setWipe(null);
    return showScores();
  }
  const own = sketch.labels();
  const {hardnesses: _, ...how} = settings();
  const answer = await ask(filterWorker, "sharpen", {channels: sketch.channels(own), own, ...how});
  result = {before: own, after: answer.labels};
  draw();
  if (sharpenAgain) return undefined;
  tell(`Sharpened in ${Math.round(answer.milliseconds)} ms.`);
  return showScores();
}

function draw() {
  if (!result) return;
  const shownTruth = $("errors").checked ? truth : null;
  stage.drawLabels("before", result.before, shownTruth);
  stage.drawLabels("after", result.after, shownTruth);
  stage.setWipe($("wipe").valueAsNumber);
}

async function showScores() {
  $("errors-choice").hidden = !truth || !result;
  const box = $("scores");
  if (!truth || !result) {
    box.textContent = truth ? "Draw something, or open scores, to compare with the truth." : "With true labels, the page "
      + "shows the IoU of what is drawn and of what is made of it.";
    return;
  }
  const found = await ask(filterWorker, "score", {predictions: [result.before, result.after], truth, count: sketch.classes.length});
  const percent = (value) => (Number.isNaN(value) ? "-" : (100 * value).toFixed(1));
  const mean = (values) => {
    const known = values.filter((value) => !Number.isNaN(value));
    return known.reduce((a, b) => a + b, 0) / known.length;
  };
  const row = (name, pick) => [name, ...["iou", "boundaryIou"].flatMap((kind) => found.map((each) => percent(pick(each[kind]))))];
  const rows = sketch.classes.map((name, c) => row(`class ${name}`, (values) => values[c]));
  const table = document.createElement("table");
  table.createCaption().textContent = "Percent, before → after";
  const fill = (line, cells, tag) => cells.forEach((text, i) => {
    const cell = document.createElement(i && tag === "td" ? "td" : "th");
    cell.scope = tag === "td" ? "row" : "col";
    cell.textContent = text;
    line.append(cell);
  });
  const paired = ([name, a, b, c, d]) => [name, `${a} → ${b}`, `${c} → ${d}`];
  fill(table.createTHead().insertRow(), ["", "IoU", "boundary IoU"], "th");
  const body = table.createTBody();
  for (const line of [...rows, row("mean", mean)]) fill(body.insertRow(), paired(line), "td");
  box.replaceChildren(table);
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
  label = Math.min(1, sketch.classes.length - 1);
  showClasses();
  return sharpen();
}

function showSettings() {
  $("hardness").value = hardnesses[$("embedding").value];
  $("hardness").nextElementSibling.textContent = hardnesses[$("embedding").value];
  for (const id of ["kernel-size", "dilation", "iterations"]) $(id).nextElementSibling.textContent = $(id).value;
  $("edges").disabled = $("dilation").valueAsNumber > 1;
}

async function start() {
  $("about").textContent = `${width} x ${height} pixels` + (data.fileSize[0] === height ? "." : `, reduced from ${data.fileSize[1]} x ${data.fileSize[0]}.`);
  for (const name of names) $("embedding").add(new Option(name === "color" ? "colour" : name, name));
  $("show").add(new Option("photograph", photograph.src));
  for (const each of data.embeddings) $("show").add(new Option(`embedding ${each.name} (PCA)`, each.picture));
  await photograph.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(photograph, 0, 0, width, height);
  look.photograph = canvas; // the picture on the stage may be another one
  const content = {height, width, stride, rgba: context.getImageData(0, 0, width, height).data, embeddings: data.embeddings};
  showSettings();
  showClasses();
  const [given, known] = await Promise.all([data.sketch, data.truth].map((packed) => packed && unpackSketch(packed)));
  await Promise.all([lookWorker, filterWorker].map((worker) => ask(worker, "open", content)));
  sketch.reset(given?.classes ?? known?.classes ?? [0, 1], null);
  if (known) openTruth(known);
  await Promise.all([open(sketch.classes, given && renumber(given, sketch.classes)), look.show()]);
  if (!given) {
    const {hardnesses: _, ...how} = settings();
    ask(filterWorker, "prepare", how);
  }
  document.body.dataset.ready = "yes";
}
