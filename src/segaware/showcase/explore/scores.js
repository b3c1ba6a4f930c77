// IoU and boundary IoU (Cheng et al. 2021), as segaware.metrics counts them.
"use strict";

const DILATION_RATIO = 0.02; // depth of a boundary region, of the image's diagonal

// Running maxima over 2 * depth + 1 numbers of a line, fewer at its ends.
function slideMaximum(line, depth) {
  let widest = line.slice(); // of `span` numbers, from each on
  let span = 1;
  for (; 2 * span <= 2 * depth + 1; span *= 2) {
    widest = widest.map((value, i) => Math.max(value, widest[Math.min(i + span, line.length - 1)]));
  }
  const last = line.length - 1;
  return line.map((_, i) => {
    const [first, end] = [Math.max(0, i - depth), Math.min(last, i + depth)];
    return end - first + 1 < span
      ? Math.max(...line.subarray(first, end + 1))
      : Math.max(widest[first], widest[end - span + 1]);
  });
}

function maximumFilter(values, height, width, depth) {
  const output = new Int16Array(values.length);
  for (let row = 0; row < height; row++) {
    output.set(slideMaximum(values.subarray(row * width, (row + 1) * width), depth), row * width);
  }
  const line = new Int16Array(height);
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) line[row] = output[row * width + column];
    slideMaximum(line, depth).forEach((value, row) => { output[row * width + column] = value; });
  }
  return output;
}

// Pixels with another class or the image's edge within a chessboard distance. Void belongs to every class.
function nearContour(labels, truth, height, width, depth) {
  const values = new Int16Array(labels.length);
  for (let i = 0; i < values.length; i++) values[i] = truth[i] === UNKNOWN ? -1000 : labels[i];
  const largest = maximumFilter(values, height, width, depth);
  for (let i = 0; i < values.length; i++) values[i] = truth[i] === UNKNOWN ? -1000 : -labels[i];
  const smallest = maximumFilter(values, height, width, depth);
  return largest.map((value, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    const atEdge = Math.min(row, column, height - 1 - row, width - 1 - column) < depth;
    return atEdge || value !== -smallest[i] ? 1 : 0;
  });
}

// Of every class, intersection over union of the pixels that count in the prediction and in the truth.
function overlaps(prediction, truth, countsPredicted, countsTrue, classes) {
  const [both, either] = [new Float64Array(256), new Float64Array(256)];
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === UNKNOWN) continue;
    if (countsPredicted[i]) either[prediction[i]]++;
    if (countsTrue[i]) either[truth[i]]++;
    if (countsPredicted[i] && countsTrue[i] && prediction[i] === truth[i]) {
      both[truth[i]]++;
      either[truth[i]]--;
    }
  }
  return Array.from({length: classes}, (_, c) => both[c] / either[c]);
}

// Of every class the IoU and the boundary IoU, NaN without a pixel. Void pixels are not counted.
function scoreLabels(prediction, truth, classes, height, width) {
  const depth = Math.max(1, Math.round(DILATION_RATIO * Math.hypot(height, width)));
  const all = new Uint8Array(truth.length).fill(1);
  const [predicted, there] = [prediction, truth].map((labels) => nearContour(labels, truth, height, width, depth));
  return {
    iou: overlaps(prediction, truth, all, all, classes),
    boundaryIou: overlaps(prediction, truth, predicted, there, classes),
  };
}
