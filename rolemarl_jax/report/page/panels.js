// What is shown beside the world: roles, their clusters over time, numbers, matrices.
const EDGE = 30;
const LABELS = 100; // before panels that have time to the right, which thus align

function line(pen, points, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.stroke();
}

function bounds(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!Number.isFinite(low)) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function drawSpace(canvas, show, now) {
  const space = show.roles.spaces[now.space % show.roles.spaces.length];
  const { pen, width, height } = surface(canvas, (w) => w);
  const [[left, right], [low, high]] = space.ends;
  const place = (t, i) => [
    EDGE + ((space.at.at(t, i, 0) - left) / (right - left)) * (width - 2 * EDGE),
    height - EDGE - ((space.at.at(t, i, 1) - low) / (high - low)) * (height - 2 * EDGE),
  ];
  pen.fillStyle = style('floor');
  pen.fillRect(0, 0, width, height);
  pen.strokeStyle = style('line');
  pen.strokeRect(EDGE / 2, EDGE / 2, width - EDGE, height - EDGE);
  pen.fillStyle = style('soft');
  pen.textAlign = 'center';
  pen.fillText(space.axes[0], width / 2, height - 3);
  pen.save();
  pen.translate(11, height / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(space.axes[1], 0, 0);
  pen.restore();
  const there = (t, i) => !Number.isNaN(space.at.at(t, i, 0));
  for (let t = 0; t < show.steps; t += 1) {
    for (let i = 0; i < show.agents; i += 1) {
      if (!there(t, i)) continue;
      disc(pen, ...place(t, i), 2.5);
      pen.fillStyle = rgb(agentColour(show, t, i), now.focus === null || now.focus === i ? 0.45 : 0.08);
      pen.fill();
    }
  }
  const living = [...Array(show.agents).keys()].filter((i) => there(now.step, i));
  living.forEach((i) => drawPoint(pen, show, now, i, place(now.step, i)));
  canvas.hit = (x, y) => living.find((i) => {
    const [px, py] = place(now.step, i);
    return Math.hypot(px - x, py - y) < 12;
  }) ?? null;
}

function drawPoint(pen, show, now, i, [x, y]) {
  const colour = agentColour(show, now.step, i);
  disc(pen, x, y, 9);
  pen.fillStyle = rgb(colour);
  pen.fill();
  pen.strokeStyle = style('ink');
  pen.lineWidth = now.focus === i ? 3 : 1;
  pen.stroke();
  pen.fillStyle = readable(colour);
  pen.textAlign = 'center';
  pen.textBaseline = 'middle';
  pen.fillText(i, x, y + 0.5);
  pen.textBaseline = 'alphabetic';
}

// Which cluster every agent is in over time; a click goes to that step.
function drawStrip(canvas, show, now) {
  const row = 18;
  const label = LABELS;
  const { pen, width, height } = surface(canvas, () => show.agents * row + 4);
  const step = (width - label) / show.steps;
  for (let i = 0; i < show.agents; i += 1) {
    pen.fillStyle = now.focus === i ? style('ink') : style('soft');
    pen.textAlign = 'left';
    pen.fillText(show.names[i], 0, i * row + 14);
    for (let t = 0; t < show.steps; t += 1) {
      pen.fillStyle = rgb(agentColour(show, t, i), show.sketch.units.alive.at(t, i) ? 1 : 0.12);
      // Whole pixels, so that no seam is seen between two steps.
      const [from, to] = [t, t + 1].map((edge) => Math.round(label + edge * step));
      pen.fillRect(from, i * row + 3, to - from, row - 4);
    }
  }
  drawClock(pen, label + (now.step + 0.5) * step, height);
  canvas.seek = (x) => Math.floor((x - label) / step);
  canvas.hit = (_, y) => (y < show.agents * row ? Math.floor(y / row) : null);
}

function drawClock(pen, x, height) {
  pen.strokeStyle = style('ink');
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x, 0);
  pen.lineTo(x, height);
  pen.stroke();
}

// Lines over time, of the team or of the agents.
function drawLines(canvas, show, now, panel) {
  const { values, names } = panel;
  const label = LABELS;
  const { pen, width, height } = surface(canvas, () => 110);
  const [low, high] = bounds(values.values);
  const step = (width - label) / show.steps;
  const place = (t, h) => [
    label + (t + 0.5) * step,
    height - 8 - ((values.at(t, h) - low) / (high - low)) * (height - 16),
  ];
  pen.fillStyle = style('soft');
  pen.textAlign = 'right';
  pen.fillText(short(high), label - 6, 14);
  pen.fillText(short(low), label - 6, height - 4);
  names.forEach((_, h) => {
    const own = names.length === show.agents && show.agents > 1;
    const faint = own && now.focus !== null && now.focus !== h;
    const points = [...Array(show.steps).keys()].map((t) => place(t, h));
    const colour = own ? rgb(show.sketch.colours.roles[h % 8], faint ? 0.15 : 0.9) : style('accent');
    line(pen, points, colour, faint ? 1 : 1.8);
  });
  drawClock(pen, label + (now.step + 0.5) * step, height);
  canvas.seek = (x) => Math.floor((x - label) / step);
}

const short = (value) => Number(value.toPrecision(3)).toString();

// Matrices of a step side by side: who attends to whom, who is taken for whom.
function drawMatrices(canvas, show, now, panel) {
  const { values, names } = panel;
  const [, heads, n] = values.shape;
  const gap = 26;
  const columns = Math.min(heads, 4);
  const lines = Math.ceil(heads / columns);
  const head = names[0] ? 34 : 18;
  const cell = (width) => Math.min(34, (width - gap * columns) / (columns * n));
  const { pen, width } = surface(canvas, (w) => lines * (cell(w) * n + head + 6));
  const side = cell(width);
  const [low, high] = panel.range;
  for (let h = 0; h < heads; h += 1) {
    const x0 = (h % columns) * (side * n + gap) + 18;
    const y0 = Math.floor(h / columns) * (side * n + head + 6) + head;
    pen.fillStyle = style('soft');
    pen.textAlign = 'left';
    pen.fillText(names[h], x0, y0 - 20);
    for (let i = 0; i < n; i += 1) {
      const strong = now.focus === i ? 'ink' : 'soft';
      pen.fillStyle = style(strong);
      pen.textAlign = 'center';
      if (side > 9 || i % 5 === 0) {
        pen.fillText(i, x0 + (i + 0.5) * side, y0 - 4);
        pen.fillText(i, x0 - 9, y0 + (i + 0.5) * side + 4);
      }
      for (let j = 0; j < n; j += 1) {
        const part = (values.at(now.step, h, i, j) - low) / (high - low);
        pen.fillStyle = mixed(style('from'), style('to'), part);
        pen.fillRect(x0 + j * side, y0 + i * side, side - 1, side - 1);
      }
    }
  }
}

function mixed(from, to, part) {
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * part)).join(',')})`;
}
