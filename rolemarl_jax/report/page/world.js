// The world of a step, drawn from its sketch.
const HEAL = '#20c997';
const BLAST = '#fab005';
const BARS = { health: '#40c057', shield: '#22b8cf', energy: '#be4bdb' };
const TRAIL = 8; // steps back that an agent's way is drawn

function drawWorld(canvas, show, now) {
  const { sketch } = show;
  const [left, low, wide, high] = sketch.view;
  const { pen, width, height } = surface(canvas, (w) => (w * high) / wide);
  const scale = width / wide;
  const place = (x, y) => [(x - left) * scale, height - (y - low) * scale];
  const scene = { pen, scale, place, sketch, show, now, t: now.frame, units: sketch.units };
  pen.fillStyle = style('floor');
  pen.fillRect(0, 0, width, height);
  drawGround(scene);
  if (sketch.things) drawThings(scene);
  const count = sketch.units.team.shape[0];
  const every = [...Array(count).keys()];
  const living = every.filter((i) => scene.units.alive.at(scene.t, i));
  living.forEach((i) => drawReach(scene, i));
  every.filter((i) => !living.includes(i)).forEach((i) => drawDead(scene, i));
  living.filter((i) => i < show.agents).forEach((i) => drawTrail(scene, i));
  every.forEach((i) => drawDeed(scene, i));
  living.forEach((i) => drawBody(scene, i));
  living.forEach((i) => drawBars(scene, i));
  canvas.hit = (x, y) => nearest(scene, living, x, y);
}

function drawGround({ pen, place, sketch }) {
  for (const part of sketch.ground) {
    const solid = part.name === 'wall' || part.name === 'rock';
    pen.fillStyle = rgb(part.colour, solid || !dark() ? 1 : 0.2);
    for (const [x, y, w, h] of part.boxes) {
      // Whole pixels, so that no seam is seen between two boxes.
      const [from, top] = place(x, y + h).map(Math.round);
      const [to, bottom] = place(x + w, y).map(Math.round);
      pen.fillRect(from, top, to - from, bottom - top);
    }
  }
}

function drawThings({ pen, scale, place, sketch, t }) {
  const { at, which, colours, round } = sketch.things;
  for (let k = 0; k < at.shape[0]; k += 1) {
    const kind = which.at(t, k);
    if (kind < 0) continue;
    const [x, y] = place(at.at(k, 0), at.at(k, 1));
    pen.fillStyle = rgb(colours[kind]);
    if (round[kind]) {
      disc(pen, x, y, 0.18 * scale);
      pen.fill();
    } else {
      const side = 0.9 * scale;
      pen.fillRect(x - side / 2, y - side / 2, side, side);
    }
  }
}

function disc(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

function spot({ place, units }, t, i) {
  return place(units.at.at(t, i, 0), units.at.at(t, i, 1));
}

// The colour of a unit: its role's, its team's, or one of its own in a grid without roles.
function colourOf({ show, now, sketch }, i) {
  if (i >= show.agents) return sketch.colours.enemy;
  return agentColour(show, now.step, i);
}

function agentColour(show, step, i) {
  const colours = show.sketch.colours.roles;
  if (show.roles) return colours[show.roles.labels.at(step, i) % colours.length];
  const battle = show.sketch.units.team.shape[0] > show.agents;
  return colours[battle ? 0 : i % colours.length];
}

function drawReach(scene, i) {
  const { pen, scale, sketch, units } = scene;
  const { reach } = sketch.kinds[units.kind.at(i)];
  if (!reach) return;
  const [x, y] = spot(scene, scene.t, i);
  disc(pen, x, y, reach * scale);
  pen.strokeStyle = rgb(colourOf(scene, i), 0.16);
  pen.lineWidth = 1;
  pen.stroke();
}

function drawDead(scene, i) {
  const { pen } = scene;
  const [x, y] = spot(scene, scene.t, i);
  pen.strokeStyle = style('soft');
  pen.globalAlpha = 0.6;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const side of [-1, 1]) {
    pen.moveTo(x - 4, y - 4 * side);
    pen.lineTo(x + 4, y + 4 * side);
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawTrail(scene, i) {
  const { pen, t } = scene;
  pen.strokeStyle = rgb(colourOf(scene, i), 0.35);
  pen.lineWidth = 2;
  pen.beginPath();
  for (let s = Math.max(0, t - TRAIL); s <= t; s += 1) pen.lineTo(...spot(scene, s, i));
  pen.stroke();
}

function drawDeed(scene, i) {
  const { pen, scale, sketch, units, t } = scene;
  const deed = sketch.deeds[units.deed.at(t, i)];
  const target = units.target.at(t, i);
  const [x, y] = spot(scene, t, i);
  if (deed === 'burst') {
    disc(pen, x, y, sketch.kinds[units.kind.at(i)].splash * scale);
    pen.fillStyle = 'rgba(250,176,5,.5)';
    pen.fill();
    return;
  }
  if (target < 0 || deed === 'none' || deed === 'move') return;
  const [ox, oy] = spot(scene, t, target);
  const weak = deed === 'aim';
  pen.strokeStyle = deed === 'heal' ? HEAL : rgb(colourOf(scene, i), weak ? 0.35 : 0.9);
  pen.lineWidth = weak ? 1 : 2.5;
  pen.setLineDash(weak ? [3, 4] : []);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(ox, oy);
  pen.stroke();
  pen.setLineDash([]);
  if (deed === 'beam') drawBeam(scene, i, [x, y], [ox, oy]);
}

function drawBeam({ pen, scale, sketch, units }, i, [x, y], [ox, oy]) {
  const half = sketch.kinds[units.kind.at(i)].splash * scale;
  const length = Math.hypot(ox - x, oy - y) || 1;
  const across = [(-(oy - y) / length) * half, ((ox - x) / length) * half];
  pen.strokeStyle = BLAST;
  pen.lineWidth = 4;
  pen.beginPath();
  pen.moveTo(ox - across[0], oy - across[1]);
  pen.lineTo(ox + across[0], oy + across[1]);
  pen.stroke();
}

function drawBody(scene, i) {
  const { pen, scale, sketch, units, show, now, t } = scene;
  const [x, y] = spot(scene, t, i);
  const radius = Math.max(4, units.radius.at(t, i) * scale);
  const colour = colourOf(scene, i);
  const own = i < show.agents;
  pen.beginPath();
  // Enemies have corners, so that colour is not all that tells teams apart.
  if (own) pen.arc(x, y, radius, 0, 2 * Math.PI);
  else pen.rect(x - 0.88 * radius, y - 0.88 * radius, 1.76 * radius, 1.76 * radius);
  pen.fillStyle = rgb(colour);
  pen.fill();
  pen.strokeStyle = now.focus === i ? style('ink') : '#212529';
  pen.lineWidth = now.focus === i ? 3 : 1;
  pen.stroke();
  pen.fillStyle = readable(colour);
  pen.textAlign = 'center';
  pen.textBaseline = 'middle';
  pen.font = `${Math.max(8, 1.25 * radius)}px system-ui, sans-serif`;
  pen.fillText(sketch.kinds[units.kind.at(i)].short || String(i), x, y + 0.5);
}

function drawBars(scene, i) {
  const { pen, scale, sketch, units, t } = scene;
  const [x, y] = spot(scene, t, i);
  const radius = Math.max(4, units.radius.at(t, i) * scale);
  let top = y - radius - 5;
  for (const [name, bar] of Object.entries(sketch.bars)) {
    const part = bar.at(t, i);
    if (Number.isNaN(part)) continue;
    pen.fillStyle = 'rgba(134,142,150,.6)';
    pen.fillRect(x - radius, top, 2 * radius, 3);
    pen.fillStyle = BARS[name];
    pen.fillRect(x - radius, top, 2 * radius * part, 3);
    top -= 4;
  }
}

// The living unit at a place of the canvas; null where there is none.
function nearest(scene, living, x, y) {
  const away = (i) => {
    const [ux, uy] = spot(scene, scene.t, i);
    return Math.hypot(ux - x, uy - y);
  };
  const best = living.reduce((a, b) => (a === null || away(b) < away(a) ? b : a), null);
  return best !== null && away(best) < 18 ? best : null;
}
