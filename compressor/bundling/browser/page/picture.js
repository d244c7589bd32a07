// From strokes to what the network was trained on. MNIST's digits were fitted into a box of 20 x 20
// pixels, their proportions kept, and moved so that their centre of mass is the centre of 28 x 28
// (LeCun et al., 1998); other sizes are treated in proportion. The strokes are drawn anew in that
// size, so that the pen is as wide as theirs however large or small one draws.

const BOX = 20 / 28;
/** Width of a stroke, in 28ths of the picture's smaller side. */
const PEN = 2.5;
/** A drawing is enlarged to at most this many times its size: a dot stays a dot. */
const MOST_ENLARGED = 6;
/** Each pixel is the mean of so many by so many. */
const FINE = 8;

/**
 * The picture of strokes (see `Drawing`): a Float32Array of height x width, from `paper` (empty) to
 * `ink` (full).
 */
export function toPicture(strokes, { height, width, paper, ink }) {
  const fine = drawnFine(strokes, height, width);
  const { data } = fine.getImageData(0, 0, width * FINE, height * FINE);
  const [right, down] = towardsCentre(data, height * FINE, width * FINE);
  return Float32Array.from({ length: height * width }, (_, pixel) => {
    const top = Math.floor(pixel / width) * FINE - down;
    const left = (pixel % width) * FINE - right;
    return paper + (ink - paper) * coverage(data, height * FINE, width * FINE, top, left);
  });
}

/**
 * Draw a stroke with a round pen; `place` gives the pixel of a point. Points are joined by curves
 * through the middles between them.
 */
export function trace(context, stroke, pen, place) {
  const points = stroke.map(place);
  const [first] = points;
  context.beginPath();
  if (points.length === 1) {
    context.arc(first[0], first[1], pen / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.lineWidth = pen;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.moveTo(...first);
  for (let index = 1; index < points.length - 1; index += 1) {
    const [x, y] = points[index];
    const [nextX, nextY] = points[index + 1];
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  context.lineTo(...points.at(-1));
  context.stroke();
}

/** The strokes in the box, in the middle of the picture, FINE times as large: a 2d context. */
function drawnFine(strokes, height, width) {
  const canvas = document.createElement("canvas");
  canvas.height = height * FINE;
  canvas.width = width * FINE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.strokeStyle = "#fff";
  context.fillStyle = "#fff";
  const side = Math.min(height, width);
  const pen = (PEN / 28) * side;
  const points = strokes.flat();
  const [left, right] = ends(points.map((point) => point.x));
  const [top, bottom] = ends(points.map((point) => point.y));
  const scale = Math.min(
    MOST_ENLARGED * side,
    (BOX * width - pen) / (right - left),
    (BOX * height - pen) / (bottom - top),
  );
  const place = (point) => [
    (width / 2 + (point.x - (left + right) / 2) * scale) * FINE,
    (height / 2 + (point.y - (top + bottom) / 2) * scale) * FINE,
  ];
  strokes.forEach((stroke) => trace(context, stroke, pen * FINE, place));
  return context;
}

/** How far to move RGBA pixels, [right, down], so that their mass is centred and none is lost. */
function towardsCentre(data, height, width) {
  let mass = 0;
  let sumX = 0;
  let sumY = 0;
  const inked = { left: width, right: 0, top: height, bottom: 0 };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const value = data[4 * (y * width + x) + 3];
      if (value > 0) {
        mass += value;
        sumX += value * (x + 0.5);
        sumY += value * (y + 0.5);
        inked.left = Math.min(inked.left, x);
        inked.right = Math.max(inked.right, x + 1);
        inked.top = Math.min(inked.top, y);
        inked.bottom = Math.max(inked.bottom, y + 1);
      }
    }
  }
  if (mass === 0) {
    return [0, 0];
  }
  const within = (wanted, least, most) => Math.min(most, Math.max(least, Math.round(wanted)));
  return [
    within(width / 2 - sumX / mass, -inked.left, width - inked.right),
    within(height / 2 - sumY / mass, -inked.top, height - inked.bottom),
  ];
}

/** The mean of the FINE x FINE pixels from (top, left) on, 0 to 1; beyond the edges there is nothing. */
function coverage(data, height, width, top, left) {
  let sum = 0;
  for (let y = Math.max(0, top); y < Math.min(height, top + FINE); y += 1) {
    for (let x = Math.max(0, left); x < Math.min(width, left + FINE); x += 1) {
      sum += data[4 * (y * width + x) + 3];
    }
  }
  return sum / (255 * FINE * FINE);
}

function ends(values) {
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}
