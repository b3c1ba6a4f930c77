// What a worker answers: all arithmetic on whole images, out of the way of the page. See filter.js for the equations.
"use strict";

const images = {}; // what is known of the photograph: its size, its colours, its embeddings
const kept = new Map(); // masks of whole images by their settings: one of the embedding, one of the edges

// Features of a pixel are taken four at a time.
const fourfold = (channels) => 4 * Math.ceil(channels / 4);

// Undoes what page.py does: planes of int8, of which all but the first row are differences to the row above. Planes that
// come from a model are numbers as they are.
async function unpackEmbedding({content, scales, numbers}, height, width) {
  const pixels = height * width;
  const channels = fourfold(numbers ? numbers.length / pixels : scales.length);
  const data = new Float32Array(pixels * channels);
  if (numbers) {
    numbers.forEach((value, i) => { data[i % pixels * channels + Math.floor(i / pixels)] = value; });
    return {data, channels, height, width};
  }
  const planes = new Int8Array((await unpack(content)).buffer);
  for (let c = 0; c < scales.length; c++) {
    const plane = planes.subarray(c * pixels, (c + 1) * pixels);
    for (let i = 0; i < pixels; i++) {
      if (i >= width) plane[i] += plane[i - width]; // wraps around, as it did there
      data[i * channels + c] = plane[i] * scales[c];
    }
  }
  return {data, channels, height, width};
}

// The colours of every second pixel times `scale`, as segaware.nn.ColorEmbedding.
function colorsAtStride(rgba, height, width, stride, scale) {
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const channels = fourfold(3);
  const data = new Float32Array(rows * columns * channels);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i += channels) {
      const pixel = (row * width + column) * stride * 4;
      for (let c = 0; c < 3; c++) data[i + c] = rgba[pixel + c] / 255 * scale;
    }
  }
  return {data, channels, height: rows, width: columns};
}

function masksOf(map, name, kernelSize, dilation, hardness) {
  const settings = [kernelSize, dilation, hardness].join();
  const found = kept.get(name);
  if (found && found.settings === settings) return found.masks;
  kept.delete(name); // before the new ones need its memory
  const masks = computeMasks(map, kernelSize, dilation, hardness);
  kept.set(name, {settings, masks});
  return masks;
}

function prepare({embedding, kernelSize, dilation, hardness, edges}) {
  for (const name of kept.keys()) if (name !== embedding && name !== "edges") kept.delete(name);
  return {
    masks: masksOf(images.maps[embedding], embedding, kernelSize, dilation, hardness),
    edgeMasks: edges ? masksOf(images.colors, "edges", 5, 1, EDGE_HARDNESS) : null,
  };
}

serve({
  async open({height, width, stride, rgba, embeddings}) {
    const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
    kept.clear();
    Object.assign(images, {height, width, rows, columns, maps: {color: colorsAtStride(rgba, height, width, stride, 10)}});
    images.colors = colorsAtStride(rgba, height, width, 1, 1);
    for (const each of embeddings) images.maps[each.name] = await unpackEmbedding(each, rows, columns);
    return true;
  },

  // Probabilities [C][rows * columns] at the stride become labels of the image. `fine` are those of all pixels, for
  // strength "auto"; of what is only known at the stride, null.
  sharpen({channels, fine, own, strength, embedding, kernelSize, dilation, hardness, iterations, edges}) {
    const {height, width, rows, columns} = images;
    const start = performance.now();
    const {masks, edgeMasks} = prepare({embedding, kernelSize, dilation, hardness, edges});
    const enlarge = (channel) => upsample(channel, rows, columns, height, width);
    let sharpened = filterChannels(channels, (channel) => {
      const full = enlarge(filterChannel(masks, channel, iterations));
      return edges ? filterChannel(edgeMasks, full, 2) : full;
    });
    if (strength === "auto") sharpened = takeWhereUnsure(fine ?? channels.map(enlarge), sharpened);
    return {labels: classify(sharpened, own), milliseconds: performance.now() - start};
  },

  // So that the first stroke does not wait for masks.
  prepare(settings) {
    prepare(settings);
    return true;
  },

  look({row, column, looks}) {
    return looks.map(({embedding, ...settings}) => effectiveWeights(images.maps[embedding], row, column, settings));
  },

  profile({pixels, embeddings}) {
    return embeddings.map((name) => distancesFrom(images.maps[name], pixels));
  },

  score({predictions, truth, count}) {
    return predictions.map((labels) => scoreLabels(labels, truth, count, images.height, images.width));
  },

  // For tests: the filter's output and its masks with all pixels, without the edges.
  filter({channels, embedding, kernelSize, dilation, hardness, iterations}) {
    const masks = computeMasks(images.maps[embedding], kernelSize, dilation, hardness);
    return {output: channels.map((channel) => filterChannel(masks, channel, iterations)), ...masks};
  },
});
