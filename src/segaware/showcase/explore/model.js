// Other photographs, which a page with a model embeds itself.
"use strict";

const MOST_PIXELS = 2_000_000; // as in inputs.py
let embedder = null; // the worker, from the first photograph on

async function openEmbedder() {
  const [onnx, script, module, wasm] = await Promise.all(["onnx", "script", "module", "wasm"].map((part) => unpack(data.model[part])));
  const worker = beginWorker(script, "\n", $("shared").textContent, $("embedder").textContent);
  await ask(worker, "open", {onnx, wasm, module});
  return worker;
}

// Whether a file is no labels: a PNG of colours, or any other image.
async function isPhotograph(file) {
  if (!file.type.startsWith("image/")) return false;
  if (file.type !== "image/png") return true;
  const header = new Uint8Array(await file.slice(0, 26).arrayBuffer());
  return header[25] === 2 || header[25] === 6;
}

async function openPhotograph(file) {
  if (!data.model) throw new FileProblem("is a photograph, and this page has no model to embed it: see --with-model of segaware explore");
  const bitmap = await createImageBitmap(file).catch(() => { throw new FileProblem("cannot be read as an image"); });
  const factor = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const [columns, rows] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side * factor)));
  const canvas = Object.assign(document.createElement("canvas"), {width: columns, height: rows});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, columns, rows);
  tell("Embedding the photograph ...");
  embedder ??= openEmbedder();
  const content = {rgba: context.getImageData(0, 0, columns, rows).data, height: rows, width: columns};
  const numbers = await ask(await embedder, "embed", content);
  const source = new Image();
  source.src = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done)));
  await source.decode();
  const embeddings = [{name: data.model.name, numbers}];
  const size = [bitmap.height, bitmap.width];
  await show({name: file.name, height: rows, width: columns, fileSize: size, embeddings, sketches: [], truth: null}, source);
  tell(`${file.name} is shown.`);
}
