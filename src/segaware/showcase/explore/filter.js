// The equations of segaware.ops: masks exp(-hardness * d) of L1 distances, and the bilateral filter under them.
// A mask is the same seen from either pixel, so only half of a window is computed and kept.
"use strict";

const EDGE_HARDNESS = 17; // of the filter over colours that moves borders onto the pixel: segaware.nn.edge_filter

const UNSURE = 0.1; // margin to certainty of pixels that take all of a filter

// The half of a window that comes after its centre, in reading order: [rows down, columns right] of every tap.
function halfWindow(kernelSize, dilation) {
  const reach = (kernelSize - 1) / 2;
  const taps = [];
  for (let row = 0; row <= reach; row++) {
    for (let column = row ? -reach : 1; column <= reach; column++) taps.push([row * dilation, column * dilation]);
  }
  return taps;
}

// map: {data, channels, height, width}, features of a pixel one behind the other, with zeros up to a multiple of four.
// Returns, for every tap, the masks of all pixels with the pixel at that tap, 0 where that is outside, how far on it
// lies, and the sums of whole windows.
function computeMasks(map, kernelSize, dilation, hardness) {
  const {data, channels, height, width} = map;
  const total = new Float32Array(height * width).fill(1); // a pixel's mask with itself
  const planes = [];
  const offsets = [];
  for (const [down, right] of halfWindow(kernelSize, dilation)) {
    if (Math.abs(right) >= width || down >= height) continue; // no pixel has it inside
    const plane = new Float32Array(height * width);
    const offset = down * width + right;
    planes.push(plane);
    offsets.push(offset);
    const [first, end] = [Math.max(0, -right), Math.min(width, width - right)];
    for (let row = 0; row + down < height; row++) {
      for (let i = row * width + first; i < row * width + end; i++) {
        let d0 = 0, d1 = 0, d2 = 0, d3 = 0; // four sums at a time take half the time of one
        for (let a = i * channels, b = a + offset * channels, stop = a + channels; a < stop; a += 4, b += 4) {
          d0 += Math.abs(data[a] - data[b]);
          d1 += Math.abs(data[a + 1] - data[b + 1]);
          d2 += Math.abs(data[a + 2] - data[b + 2]);
          d3 += Math.abs(data[a + 3] - data[b + 3]);
        }
        const exponent = hardness * (d0 + d1 + d2 + d3);
        if (exponent > 30) continue; // 1e-13 and less
        const mask = Math.exp(-exponent);
        plane[i] = mask;
        total[i] += mask;
        total[i + offset] += mask;
      }
    }
  }
  while (planes.length % 4) { // taps are taken four at a time
    planes.push(new Float32Array(height * width));
    offsets.push(1);
  }
  return {planes, offsets, total, height, width};
}

// Room for a channel, and for what taps beyond its end read and write times 0.
function room({offsets, total}) {
  return new Float32Array(total.length + Math.max(0, ...offsets));
}

// output_i = sum_j mask_ij input_j, without the division by the sum of masks. Both are as long as `room` makes them.
function sumUnderMasks({planes, offsets, height, width}, input, output) {
  output.set(input);
  for (let start = 0; start < height * width; start += width) { // row by row, so that channels stay in the cache
    for (let tap = 0; tap < planes.length; tap += 4) {
      const [p0, p1, p2, p3] = planes.slice(tap, tap + 4);
      const [o0, o1, o2, o3] = offsets.slice(tap, tap + 4);
      for (let i = start; i < start + width; i++) {
        const value = input[i], m0 = p0[i], m1 = p1[i], m2 = p2[i], m3 = p3[i];
        output[i] += m0 * input[i + o0] + m1 * input[i + o1] + m2 * input[i + o2] + m3 * input[i + o3];
        output[i + o0] += m0 * value;
        output[i + o1] += m1 * value;
        output[i + o2] += m2 * value;
        output[i + o3] += m3 * value;
      }
    }
  }
}

// Eq. 4, `iterations` times: what segaware_filter2d(..., border="exclude") returns of one channel.
function filterChannel(masks, input, iterations) {
  let [current, next] = [room(masks), room(masks)];
  current.set(input);
  for (let n = 0; n < iterations; n++) {
    sumUnderMasks(masks, current, next);
    for (let i = 0; i < input.length; i++) next[i] /= masks.total[i];
    next.fill(0, input.length);
    [current, next] = [next, current];
  }
  return current.subarray(0, input.length);
}

// The same of several channels by `filter`. Where they sum to 1, as classes of known pixels do, so do their means.
function filterChannels(channels, filter) {
  const isWhole = channels[0].every((_, i) => {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    return Math.abs(sum - 1) < 1e-5;
  });
  if (!isWhole) return channels.map(filter);
  const others = channels.slice(1).map(filter);
  const first = new Float32Array((others[0] ?? filter(channels[0])).length).fill(1);
  for (const channel of others) for (let i = 0; i < first.length; i++) first[i] -= channel[i];
  return [first, ...others];
}

// Bilinear, by 2: point (i, j) lies on pixel (2i, 2j), and beyond the last one its value is repeated.
function upsample(input, height, width, fullHeight, fullWidth) {
  const output = new Float32Array(fullHeight * fullWidth);
  for (let row = 0; row < fullHeight; row++) {
    const above = (row >> 1) * width;
    const below = row & 1 ? Math.min((row >> 1) + 1, height - 1) * width : above;
    for (let column = 0; column < fullWidth; column++) {
      const left = column >> 1;
      const right = column & 1 ? Math.min(left + 1, width - 1) : left;
      const sum = input[above + left] + input[above + right] + input[below + left] + input[below + right];
      output[row * fullWidth + column] = sum / 4;
    }
  }
  return output;
}

// What strength="auto" takes of a filter: all where probabilities are unsure, nothing where they are certain. `filtered`
// is overwritten. See segaware.nn.certainty_gate.
function takeWhereUnsure(before, filtered) {
  for (let i = 0; i < filtered[0].length; i++) {
    let most = 0;
    for (const channel of before) if (channel[i] > most) most = channel[i];
    const taken = Math.min(Math.max((2 - 2 * most) / UNSURE, 0), 1);
    for (let c = 0; c < filtered.length; c++) filtered[c][i] = before[c][i] + taken * (filtered[c][i] - before[c][i]);
  }
  return filtered;
}

// What a pixel sees of its surroundings after some passes of the filter, the weights of Eq. 4 multiplied out; they sum
// to 1. Returns the pixels that it can see, {weights, top, left, height, width}.
function effectiveWeights(map, row, column, {kernelSize, dilation, hardness, iterations}) {
  const reach = iterations * dilation * (kernelSize - 1) / 2;
  const [top, left] = [Math.max(0, row - reach), Math.max(0, column - reach)];
  const height = Math.min(map.height, row + reach + 1) - top;
  const width = Math.min(map.width, column + reach + 1) - left;
  const part = new Float32Array(height * width * map.channels);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * map.width + left) * map.channels;
    part.set(map.data.subarray(start, start + width * map.channels), y * width * map.channels);
  }
  const masks = computeMasks({data: part, channels: map.channels, height, width}, kernelSize, dilation, hardness);
  let [weights, next] = [room(masks), room(masks)];
  weights[(row - top) * width + column - left] = 1;
  for (let n = 0; n < iterations; n++) { // a row of the product of matrices, from the left
    for (let i = 0; i < masks.total.length; i++) weights[i] /= masks.total[i];
    sumUnderMasks(masks, weights, next);
    next.fill(0, masks.total.length);
    [weights, next] = [next, weights];
  }
  weights = weights.subarray(0, masks.total.length);
  return {weights, top, left, height, width};
}

// L1 distances of the first of some pixels, [row, column], to each of them.
function distancesFrom(map, pixels) {
  const at = pixels.map(([row, column]) => (row * map.width + column) * map.channels);
  return at.map((b) => {
    let distance = 0;
    for (let c = 0; c < map.channels; c++) distance += Math.abs(map.data[at[0] + c] - map.data[b + c]);
    return distance;
  });
}
