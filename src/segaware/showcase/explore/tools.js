// Pointers and keys on the photograph.
"use strict";

let drawing = null; // while a pointer, or the pen of the keyboard, is down: {from, points}

const diameter = () => $("size").valueAsNumber;
const paints = () => tool === "brush" || tool === "eraser";

function begin(pixel) {
  drawing = {from: pixel, points: [pixel]};
  if (tool === "brush" || tool === "eraser" || tool === "outline") sketch.begin();
  move(pixel);
}

function move(pixel) {
  stage.markTip(paints() ? pixel : null, diameter());
  look.show(pixel);
  if (!drawing) return;
  const last = drawing.points.at(-1);
  drawing.points.push(pixel);
  if (paints()) {
    sketch.stroke(last, pixel, diameter(), tool === "brush" ? label : sketch.eraser);
    sharpen();
  } else if (tool === "outline") {
    stage.markStroke([...drawing.points, drawing.from]);
  } else if (tool === "profile") {
    look.profile(drawing.from, pixel);
  }
}

function end() {
  if (drawing && tool === "outline") {
    stage.markStroke([]);
    sketch.fillOutline(drawing.points, label);
    sharpen();
  }
  drawing = null;
}

function choose(name) {
  if (drawing) end();
  tool = name;
  $("panes").dataset.tool = name;
  document.querySelector(`input[name="tool"][value="${name}"]`).checked = true;
  stage.markTip(null, 0);
}

for (const pane of stage.panes) {
  pane.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (event.pointerType !== "touch" || tool !== "look") pane.setPointerCapture(event.pointerId);
    begin(stage.at(event));
  });
  pane.addEventListener("pointermove", (event) => move(stage.at(event)));
  for (const name of ["pointerup", "pointercancel"]) pane.addEventListener(name, end);
  pane.addEventListener("pointerleave", () => stage.markTip(null, 0));
}

const ARROWS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const TOOL_KEYS = {l: "look", o: "outline", b: "brush", e: "eraser", p: "profile"};

stage.element.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (ARROWS[key]) {
    const step = stride * (event.shiftKey ? 10 : 1);
    const [row, column] = look.pixel.map((place, i) => place + step * ARROWS[key][i]);
    move([Math.min(Math.max(row, 0), height - 1), Math.min(Math.max(column, 0), width - 1)]);
    if (tool === "look") tell(`Row ${look.pixel[0]}, column ${look.pixel[1]}.`); // for those who do not see it
  } else if (key === " ") {
    if (!drawing) begin(look.pixel);
    else if (tool !== "outline") end(); // whose points are all on the way
    if (tool !== "look") tell(drawing ? "The pen is down: arrows draw." : "The pen is up.");
  } else if (key === "Enter" && drawing) {
    end();
  } else if (TOOL_KEYS[key]) {
    choose(TOOL_KEYS[key]);
    tell(`Tool: ${TOOL_KEYS[key]}.`);
  } else if (/^[0-9]$/.test(key) && Number(key) < sketch.classes.length) {
    label = Number(key);
    showClasses();
  } else if (key === "[" || key === "]") {
    $("size").valueAsNumber = diameter() + (key === "[" ? -4 : 4);
    stage.markTip(paints() ? look.pixel : null, diameter());
  } else {
    return;
  }
  event.preventDefault();
});

function undo() {
  if (sketch.undo()) sharpen();
}

function redo() {
  if (sketch.redo()) sharpen();
}

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey)) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  key === "y" || event.shiftKey ? redo() : undo();
});

for (const input of document.querySelectorAll('input[name="tool"]')) input.onchange = () => choose(input.value);
$("undo").onclick = undo;
$("redo").onclick = redo;
$("clear").onclick = () => {
  rival = null;
  open(truth ? sketch.classes : [0, 1], null); // the truth's labels are indices of these
};
$("apart").onchange = () => {
  stage.setApart($("apart").checked);
  $("wipe").disabled = $("apart").checked;
};
$("show").onchange = () => stage.setPicture($("show").value);
for (const id of ["errors", "left-side", "right-side"]) $(id).onchange = draw;
$("passes").onchange = () => look.show();
for (const id of ["embedding", "hardness", "kernel-size", "dilation", "iterations", "edges", "auto"]) {
  $(id).oninput = () => {
    if (id === "hardness") hardnesses[$("embedding").value] = $("hardness").valueAsNumber;
    showSettings();
    $("learned-name").textContent = look.compared()[0].embedding;
    look.show();
    sharpen();
  };
}
choose("look");
