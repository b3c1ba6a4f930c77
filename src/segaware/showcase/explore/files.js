// PNG and .npy files: labels, masks and scores that are opened, and what is saved.
"use strict";

class FileProblem extends Error {}

const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function pngChunk(name, content) {
  const chunk = new Uint8Array(content.length + 12);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, content.length);
  chunk.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  chunk.set(content, 8);
  let crc = ~0;
  for (let i = 4; i < chunk.length - 4; i++) crc = CRC[(crc ^ chunk[i]) & 255] ^ (crc >>> 8);
  view.setUint32(chunk.length - 4, ~crc >>> 0);
  return chunk;
}

// A PNG of 8-bit indices with a palette [[r, g, b], ...], or of RGBA without one. A canvas would make RGBA of labels,
// and lose the colours of what is transparent.
async function encodePng(pixels, height, width, palette = null) {
  const bytes = palette ? width : 4 * width;
  const rows = new Uint8Array(height * (bytes + 1)); // each begins with the number of its filter, 0
  for (let y = 0; y < height; y++) rows.set(pixels.subarray(y * bytes, (y + 1) * bytes), y * (bytes + 1) + 1);
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, palette ? 3 : 6);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  const parts = [signature, pngChunk("IHDR", new Uint8Array(header.buffer))];
  if (palette) parts.push(pngChunk("PLTE", Uint8Array.from(palette.flat())));
  parts.push(pngChunk("IDAT", await deflate(rows)), pngChunk("IEND", new Uint8Array(0)));
  return new Blob(parts, {type: "image/png"});
}

function encodeNpy(array, shape) {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const start = [0x93, ...[..."NUMPY"].map((letter) => letter.charCodeAt(0)), 1, 0, padded.length & 255, padded.length >> 8];
  return new Blob([Uint8Array.from(start), padded, array]);
}

function undoPngFilters(rows, height, bytes) {
  const pixels = new Uint8Array(height * bytes); // one byte or less per pixel, so the pixel before is the byte before
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (bytes + 1)];
    for (let x = 0; x < bytes; x++) {
      const at = y * bytes + x;
      const left = x ? pixels[at - 1] : 0;
      const above = y ? pixels[at - bytes] : 0;
      const corner = x && y ? pixels[at - bytes - 1] : 0;
      const slope = left + above - corner;
      const [a, b, c] = [left, above, corner].map((value) => Math.abs(slope - value));
      const paeth = a <= b && a <= c ? left : b <= c ? above : corner;
      pixels[at] = rows[y * (bytes + 1) + 1 + x] + [0, left, above, (left + above) >> 1, paeth][filter];
    }
  }
  return pixels;
}

// The indices of a gray PNG or one with a palette: {height, width, labels}.
async function readLabelPng(file) {
  const content = new Uint8Array(await file.arrayBuffer());
  const view = new DataView(content.buffer);
  if (content.length < 33 || view.getUint32(0) !== 0x89504e47) throw new FileProblem("is no PNG file");
  const [width, height, bits, color] = [view.getUint32(16), view.getUint32(20), content[24], content[25]];
  if (bits > 8 || ![0, 3].includes(color) || content[28]) {
    throw new FileProblem("must have one channel of at most 8 bits, not interlaced: gray, or a palette's indices");
  }
  const parts = [];
  for (let at = 8; at + 12 <= content.length; at += view.getUint32(at) + 12) {
    if (view.getUint32(at + 4) === 0x49444154) parts.push(content.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const bytes = Math.ceil(width * bits / 8);
  const rows = await inflate(await new Blob(parts).arrayBuffer());
  if (rows.length < height * (bytes + 1)) throw new FileProblem("is cut off");
  const packed = undoPngFilters(rows, height, bytes);
  const labels = new Uint8Array(height * width);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const place = x * bits;
      labels[i] = (packed[y * bytes + (place >> 3)] >> (8 - bits - (place & 7))) & (2 ** bits - 1);
    }
  }
  const binary = color === 0 && labels.includes(255) && labels.every((label) => label === 0 || label === 255);
  return {height, width, kind: binary ? "masks" : "labels", labels: binary ? labels.map((label) => label && 1) : labels};
}

const NUMBERS = {
  "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array, "|i1": Int8Array, "|b1": Uint8Array, "<u2": Uint16Array,
  "<i2": Int16Array, "<i4": Int32Array, "<u4": Uint32Array, "<i8": BigInt64Array, "<u8": BigUint64Array,
};

// {shape, type, numbers} of a .npy file.
async function readNpy(file) {
  const buffer = await file.arrayBuffer();
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 12 || bytes[0] !== 0x93) throw new FileProblem("is no .npy file");
  const long = bytes[6] > 1;
  const start = long ? 12 : 10;
  const length = new DataView(buffer).getUint32(8, true) & (long ? 0xffffffff : 0xffff);
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const type = /'descr': *'([^']*)'/.exec(header)?.[1];
  const shape = /'shape': *\(([^)]*)\)/.exec(header)?.[1].split(",").filter((side) => side.trim()).map(Number);
  if (!NUMBERS[type] || !shape || /'fortran_order': *True/.test(header)) {
    throw new FileProblem(`must hold numbers in C order of a type such as float32, not ${type ?? "this"}`);
  }
  const count = shape.reduce((a, b) => a * b, 1);
  const size = NUMBERS[type].BYTES_PER_ELEMENT;
  if (bytes.length < start + length + count * size) throw new FileProblem("is cut off");
  const numbers = new NUMBERS[type](buffer.slice(start + length, start + length + count * size));
  return {shape, type, numbers: size === 8 && type[1] !== "f" ? Float64Array.from(numbers, Number) : numbers};
}

// How points of scores lie in the image's pixels along one side, as segaware.refining.grid does by itself.
function gridOf(lengths, points) {
  const fits = [];
  for (let s = 1; s <= Math.max(...lengths); s++) {
    if (lengths.every((length, i) => Math.ceil(length / s) === points[i])) fits.push(s);
  }
  const stride = fits.find((s) => Number.isInteger(Math.log2(s))) ?? fits[0];
  return lengths.map((length, i) => (pixel) => {
    const place = stride ? pixel / stride : (pixel + 0.5) * points[i] / length - 0.5;
    return Math.min(Math.max(place, 0), points[i] - 1);
  });
}

// Channels [C](h * w) at every `step`-th pixel of the image, bilinear.
function interpolate(channels, points, lengths, step) {
  const [rows, columns] = gridOf(lengths, points).map((at, i) =>
    Array.from({length: Math.ceil(lengths[i] / step)}, (_, n) => {
      const place = at(n * step);
      const low = Math.floor(place);
      return [low, Math.min(low + 1, points[i] - 1), place - low];
    }));
  return channels.map((channel) => {
    const output = new Float32Array(rows.length * columns.length);
    let i = 0;
    for (const [above, below, down] of rows) {
      for (const [left, right, across] of columns) {
        const upper = channel[above * points[1] + left] * (1 - across) + channel[above * points[1] + right] * across;
        const lower = channel[below * points[1] + left] * (1 - across) + channel[below * points[1] + right] * across;
        output[i++] = upper * (1 - down) + lower * down;
      }
    }
    return output;
  });
}

function resizeLabels(labels, points, lengths) {
  const [row, column] = gridOf(lengths, points);
  const columns = Array.from({length: lengths[1]}, (_, x) => Math.floor(column(x) + 0.5));
  const output = new Uint8Array(lengths[0] * lengths[1]);
  for (let y = 0, i = 0; y < lengths[0]; y++) {
    const start = Math.floor(row(y) + 0.5) * points[1];
    for (let x = 0; x < lengths[1]; x++) output[i++] = labels[start + columns[x]];
  }
  return output;
}

// {kind, channels [C](h * w) of probabilities} of what a .npy file holds as floats.
function toProbabilities({shape, numbers}) {
  const [count, height, width] = shape.length === 2 ? [1, ...shape] : shape;
  const pixels = height * width;
  if (!numbers.every(Number.isFinite)) throw new FileProblem("holds NaN or infinite numbers");
  const channels = Array.from({length: count}, (_, c) => Float32Array.from(numbers.subarray(c * pixels, (c + 1) * pixels)));
  const fractions = numbers.every((value) => value >= 0 && value <= 1);
  if (count === 1) {
    const mask = fractions ? channels[0] : channels[0].map((value) => 1 / (1 + Math.exp(-value)));
    return {kind: "masks", channels: [mask.map((value) => 1 - value), mask]};
  }
  const sums = new Float32Array(pixels);
  for (const channel of channels) channel.forEach((value, i) => { sums[i] += value; });
  if (fractions && sums.every((sum) => Math.abs(sum - 1) < 1e-2)) return {kind: "probabilities", channels};
  for (let i = 0; i < pixels; i++) {
    const most = Math.max(...channels.map((channel) => channel[i]));
    let sum = 0;
    for (const channel of channels) sum += channel[i] = Math.exp(channel[i] - most);
    for (const channel of channels) channel[i] /= sum;
  }
  return {kind: "scores", channels};
}

// The classes of which any can be the most probable after a filter, ascending: segaware.refining.kinds.contenders.
function contenders(channels) {
  const most = channels.map((channel) => channel.reduce((a, b) => Math.max(a, b), 0));
  const order = most.map((_, c) => c).sort((a, b) => most[b] - most[a]);
  const together = new Float32Array(channels[0].length);
  for (let k = 1; k < order.length; k++) {
    channels[order[k - 1]].forEach((value, i) => { together[i] += value; });
    if (most[order[k]] < 0.999 * together.reduce((a, b) => Math.min(a, b)) / k) return order.slice(0, k).sort((a, b) => a - b);
  }
  return order.sort((a, b) => a - b);
}
