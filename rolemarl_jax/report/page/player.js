// One clock for all panels: slider, keys, play button and clicks move the same step.
const SECOND = 1000;
const FRAMES = 3; // a second, at speed 1
const get = (id) => document.getElementById(id);
const raw = JSON.parse(get('episodes').textContent);
const kept = new Map();
const now = { episode: 0, frame: 0, step: 0, focus: null, space: 0, playing: false };
let views = [];

// An episode with its arrays, unpacked when it is first looked at.
function episode() {
  if (!kept.has(now.episode)) {
    const show = opened(raw[now.episode]);
    [show.steps, show.agents] = show.action.shape;
    const { kind } = show.sketch.units;
    show.names = [...Array(show.agents).keys()].map((i) => `${i} ${show.sketch.kinds[kind.at(i)].name}`);
    show.panels.forEach((panel) => { panel.range = bounds(panel.values.values); });
    kept.set(now.episode, show);
  }
  return kept.get(now.episode);
}

// A panel in one of the places: the wide rows, or one of the two columns above them.
function panel(title, where, draw, note) {
  const box = document.createElement('section');
  const head = document.createElement('h3');
  const canvas = document.createElement('canvas');
  head.textContent = title;
  box.className = where;
  box.append(head, canvas);
  if (note) box.append(paragraph(note));
  (where === 'side' ? get('side') : get('panels')).append(box);
  follow(canvas);
  views.push(() => draw(canvas));
  return head;
}

function paragraph(text) {
  const told = document.createElement('p');
  told.className = 'soft';
  told.textContent = text;
  return told;
}

function build() {
  const show = episode();
  const side = document.createElement('div');
  side.id = 'side';
  get('panels').replaceChildren();
  views = [];
  panel('World', 'main', (canvas) => drawWorld(canvas, show, now));
  get('panels').append(side);
  if (show.roles) buildRoles(show);
  const battle = show.sketch.units.team.shape[0] > show.agents;
  const own = battle ? 'all agents have one colour' : 'each agent has a colour of its own';
  if (!show.roles) {
    const box = document.createElement('section');
    box.append(paragraph(`This algorithm has no roles: ${own}.`));
    side.append(box);
  }
  for (const one of show.panels) {
    if (one.values.shape.length === 2) {
      panel(one.title, 'wide', (canvas) => drawLines(canvas, show, now, one), one.note);
      continue;
    }
    const [low, high] = one.range.map(short);
    const note = `${one.note} Faint is ${low}, strong ${high}.`;
    const where = one.names.length > 1 ? 'wide' : 'side';
    panel(one.title, where, (canvas) => drawMatrices(canvas, show, now, one), note);
  }
  buildLegend(show);
  get('step').max = show.steps;
  go(0);
}

function buildRoles(show) {
  const head = panel('Roles', 'side', (canvas) => drawSpace(canvas, show, now));
  const buttons = show.roles.spaces.map((space, i) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = space.name;
    button.addEventListener('click', () => { now.space = i; mark(); redraw(); });
    return button;
  });
  const mark = () => buttons.forEach((button, i) =>
    button.setAttribute('aria-pressed', String(i === now.space % buttons.length)));
  head.append(...buttons);
  mark();
  panel('Clusters over time', 'wide', (canvas) => drawStrip(canvas, show, now),
    'Pale where an agent is dead. A click goes to that step.');
}

function buildLegend(show) {
  const { sketch } = show;
  const entries = [];
  const add = (text, colour, kind = '') => entries.push([text, colour, kind]);
  if (show.roles) {
    for (let k = 0; k < show.roles.clusters; k += 1) add(`role ${k + 1}`, rgb(sketch.colours.roles[k % 8]));
  }
  if (sketch.units.team.shape[0] > show.agents) {
    add('enemy', rgb(sketch.colours.enemy), 'box');
    add('shot', style('ink'), 'line');
  }
  Object.keys(sketch.bars).forEach((name) => add(name, BARS[name], 'bar'));
  if (sketch.deeds.includes('heal') && 'energy' in sketch.bars) add('healing', HEAL, 'line');
  if (sketch.things) {
    const seen = new Set(sketch.things.which.values);
    sketch.things.names.forEach((name, k) => seen.has(k) && add(name, rgb(sketch.things.colours[k]), sketch.things.round[k] ? '' : 'box'));
  }
  get('legend').replaceChildren(...entries.map(([text, colour, kind]) => {
    const item = document.createElement('span');
    item.textContent = text;
    item.className = kind;
    item.style.setProperty('--mark', colour);
    return item;
  }));
}

function redraw() {
  const show = episode();
  views.forEach((view) => view());
  const living = (team) => [...Array(show.sketch.units.team.shape[0]).keys()].filter((i) =>
    (i >= show.agents) === team && show.sketch.units.alive.at(now.frame, i)).length;
  get('clock').textContent = `step ${now.frame} of ${show.steps}`;
  get('told').textContent = told(show, living);
}

// What the focus does, or what the teams are like.
function told(show, living) {
  const { sketch } = show;
  if (now.focus !== null && now.focus < show.agents) {
    const i = now.focus;
    const action = sketch.actions[show.action.at(now.step, i)];
    const role = show.roles ? `, role ${show.roles.labels.at(now.step, i) + 1}` : '';
    const alive = sketch.units.alive.at(now.frame, i);
    return `Agent ${show.names[i]}${role}: ${alive ? `next action ${action}` : 'dead'}.`;
  }
  const parts = Object.entries(sketch.counters ?? {}).map(([name, values]) => `${name} ${values.at(now.frame)}`);
  if (sketch.units.team.shape[0] > show.agents) parts.push(`${living(false)} allies and ${living(true)} enemies live`);
  return parts.join(', ');
}

function go(frame) {
  const { steps } = episode();
  now.frame = Math.min(Math.max(frame, 0), steps);
  // The last world has no decision of its own: what led there is shown.
  now.step = Math.min(now.frame, steps - 1);
  get('step').value = now.frame;
  redraw();
}

function play(on) {
  now.playing = on;
  get('play').textContent = on ? 'Pause' : 'Play';
  if (on && now.frame >= episode().steps) go(0);
  if (on) setTimeout(tick, SECOND / FRAMES / get('speed').value);
}

let beat = 0;
function tick() {
  beat += 1;
  const mine = beat;
  if (!now.playing) return;
  if (now.frame >= episode().steps) { play(false); return; }
  go(now.frame + 1);
  setTimeout(() => mine === beat && tick(), SECOND / FRAMES / get('speed').value);
}

// Pointing at an agent follows it everywhere; clicks on time go to that step.
function follow(canvas) {
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const focus = (unit) => { if (unit !== now.focus) { now.focus = unit; redraw(); } };
  const seek = (event) => { if (canvas.seek) { play(false); go(canvas.seek(at(event)[0])); } };
  canvas.addEventListener('pointermove', (event) => {
    if (canvas.hit) focus(canvas.hit(...at(event)));
    if (event.buttons) seek(event);
  });
  canvas.addEventListener('pointerleave', () => focus(null));
  canvas.addEventListener('pointerdown', seek);
}

const KEYS = {
  ' ': () => play(!now.playing),
  ArrowRight: () => { play(false); go(now.frame + 1); },
  ArrowLeft: () => { play(false); go(now.frame - 1); },
  Home: () => go(0),
  End: () => go(episode().steps),
};

document.addEventListener('keydown', (event) => {
  const mine = KEYS[event.key];
  if (!mine || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.tagName === 'SELECT') return;
  if (event.key === ' ' && event.target.tagName === 'BUTTON') return;
  event.preventDefault();
  mine();
});
get('step').addEventListener('input', () => { play(false); go(Number(get('step').value)); });
get('play').addEventListener('click', () => play(!now.playing));
get('choice').append(...raw.map((one, i) => new Option(one.title, i)));
get('choice').addEventListener('change', () => {
  play(false);
  now.episode = Number(get('choice').value);
  now.focus = null;
  build();
});
document.addEventListener('theme', () => { buildLegend(episode()); redraw(); });
build();
// Also where a scroll bar takes some of the width.
let wide = 0;
new ResizeObserver(([panels]) => {
  const { width } = panels.contentRect;
  if (width !== wide) requestAnimationFrame(redraw);
  wide = width;
}).observe(get('panels'));
