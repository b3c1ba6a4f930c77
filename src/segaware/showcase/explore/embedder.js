// What the worker answers that embeds photographs; onnxruntime-web, which is `ort`, stands before it.
"use strict";

let session = null;

serve({
  async open({onnx, wasm, module}) {
    ort.env.wasm.numThreads = 1; // several need headers of a server
    ort.env.wasm.wasmBinary = wasm.buffer;
    ort.env.wasm.wasmPaths = {mjs: URL.createObjectURL(new Blob([module], {type: "text/javascript"}))};
    session = await ort.InferenceSession.create(onnx, {executionProviders: ["wasm"]});
    return true;
  },

  // The embedding [E, rows, columns] at the page's stride, as planes one after the other.
  async embed({rgba, height, width}) {
    const pixels = height * width;
    const image = new Float32Array(3 * pixels);
    for (let i = 0; i < pixels; i++) for (let c = 0; c < 3; c++) image[c * pixels + i] = rgba[4 * i + c] / 255;
    const input = new ort.Tensor("float32", image, [1, 3, height, width]);
    const outputs = await session.run({[session.inputNames[0]]: input});
    return outputs[session.outputNames[0]].data;
  },
});
