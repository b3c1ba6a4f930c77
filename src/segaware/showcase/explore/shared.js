// What page and workers share.
"use strict";

const UNKNOWN = 255; // the label of pixels whose class is not known
const LEAST = 1e-6; // of the weights, a part that says nothing
const TIE = 1e-5; // classes less far apart are equal

// Bytes that are kept deflated, as base64.
async function through(stream, bytes) {
  const done = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(done).arrayBuffer());
}

const inflate = (bytes) => through(new DecompressionStream("deflate"), bytes);
const deflate = (bytes) => through(new CompressionStream("deflate"), bytes);
const unpack = (base64) => inflate(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));

// The index of the highest channel of every pixel; of equal ones its own, or else the first. As decode_labels.
function classify(channels, own) {
  const labels = new Uint8Array(own.length);
  for (let i = 0; i < labels.length; i++) {
    let sum = 0;
    let most = 0;
    for (const channel of channels) {
      sum += channel[i];
      if (channel[i] > most) most = channel[i];
    }
    if (sum <= LEAST) {
      labels[i] = UNKNOWN;
      continue;
    }
    const enough = most - TIE * sum;
    const mine = own[i];
    labels[i] = mine < channels.length && channels[mine][i] >= enough ? mine : channels.findIndex((c) => c[i] >= enough);
  }
  return labels;
}

// Answers questions in a worker.
function serve(answers) {
  self.onmessage = async ({data: {number, question, content}}) => {
    try {
      self.postMessage({number, answer: await answers[question](content)});
    } catch (error) {
      self.postMessage({number, error: String(error)});
    }
  };
}
