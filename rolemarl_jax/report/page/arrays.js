// Arrays as `player.py` packs them: two bytes a number, whole ones or steps from a low end.
const NO_NUMBER = 65535;

function unpacked(kept) {
  const bytes = Uint8Array.from(atob(kept.data), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const count = bytes.length / 2;
  const values = new Float64Array(count);
  for (let i = 0; i < count; i += 1) {
    if (kept.step === undefined) {
      values[i] = view.getInt16(2 * i, true);
    } else {
      const code = view.getUint16(2 * i, true);
      values[i] = code === NO_NUMBER ? NaN : kept.low + kept.step * code;
    }
  }
  const strides = kept.shape.map((_, axis) =>
    kept.shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const at = (...index) => values[index.reduce((sum, i, axis) => sum + i * strides[axis], 0)];
  return { shape: kept.shape, values, at };
}

// The same containers with every packed array unpacked.
function opened(node) {
  if (Array.isArray(node)) return node.map(opened);
  if (node === null || typeof node !== 'object') return node;
  if ('data' in node && 'shape' in node) return unpacked(node);
  return Object.fromEntries(Object.entries(node).map(([name, part]) => [name, opened(part)]));
}

const rgb = (colour, alpha = 1) => `rgba(${colour.join(',')},${alpha})`;
const style = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const dark = () => document.documentElement.dataset.theme === 'dark';

// Black or white, whichever is easier to read on a colour.
function readable([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 150 ? '#212529' : '#ffffff';
}

// A canvas in a panel, as wide as that, drawn in CSS pixels.
function surface(canvas, height) {
  const width = canvas.clientWidth || 400;
  const ratio = window.devicePixelRatio || 1;
  const high = Math.round(height(width));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(high * ratio);
  canvas.style.height = `${high}px`;
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, high);
  pen.font = '12px system-ui, sans-serif';
  return { pen, width, height: high };
}
