'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const grid = byId('grid'), detail = byId('detail');

// make builds an element. Its text is never read as HTML.
function make(name, text, attributes = {}) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}

// looks returns a verdict's sign, for people who do not see colours, and its class.
function looks(verdict) {
  const signs = [
    [/^ALLOW/, 'A', 'allow'], [/^DEPENDS/, '?', 'depends'], [/^ERRNO\(ENOSYS\)/, 'N', 'enosys'],
    [/^ERRNO\(EPERM\)/, 'E', 'errno'], [/^ERRNO/, 'e', 'errno'], [/^KILL/, 'K', 'kill'], [/^LOG/, 'L', 'other'],
    [/^TRAP/, 'S', 'other'], [/^TRACE/, 'T', 'other'], [/^(USER_)?NOTIF/, 'U', 'other'],
  ];
  return signs.find(([pattern]) => pattern.test(verdict)) || [null, '!', 'other'];
}

const words = (verdict) => (verdict === 'DEPENDS' ? 'depends on arguments' : verdict);

function sign(verdict) {
  const [, letter, style] = looks(verdict);
  return make('span', letter, { class: style, role: 'img', 'aria-label': words(verdict) });
}

// describe shows the details of a cell.
function describe(r, c) {
  const lines = [`${r.call}, ${data.columns[c]}`];
  r.cells.forEach((cells, p) => {
    const k = data.kinds[cells[c]];
    const whose = data.profiles.length > 1 ? `${data.profiles[p]}: ` : '';
    const rule = k.rule ? ` (${k.rule})` : '';
    lines.push(whose + words(k.verdict) + (k.cases ? '' : `: ${k.because}${rule}`));
    for (const one of k.cases || []) {
      const when = one.when === 'otherwise' ? one.when : `when ${one.when}`;
      lines.push(`  ${one.verdict} ${when} (${one.rules.filter(Boolean).join(', ') || 'no rule'})`);
    }
    if (k.comment) lines.push(`  ${k.comment}`);
  });
  return lines.join('\n');
}

function cell(r, c) {
  const td = make('td', undefined, { role: 'gridcell', tabindex: -1 });
  if (data.profiles.length > 1) td.classList.add('pair');
  for (const cells of r.cells) td.append(sign(data.kinds[cells[c]].verdict));
  if (r.differs && r.differs[c]) {
    td.classList.add('differs');
    td.setAttribute('aria-description', 'the profiles differ');
  }
  return td;
}

function build() {
  const head = make('tr', undefined, { role: 'row' });
  head.append(make('th', 'call', { scope: 'col', role: 'columnheader' }));
  for (const name of data.columns) {
    const th = make('th', undefined, { scope: 'col', role: 'columnheader' });
    th.append(make('span', name));
    head.append(th);
  }
  const top = make('thead');
  top.append(head);
  const body = make('tbody');
  data.rows.forEach((r, i) => {
    const tr = make('tr', undefined, { role: 'row', 'data-row': i });
    const th = make('th', r.call, { scope: 'row', role: 'rowheader' });
    th.append(make('small', r.number));
    tr.append(th, ...data.columns.map((_, c) => cell(r, c)));
    body.append(tr);
  });
  grid.append(top, body);
}

const verdicts = (r) => r.cells.flat().map((k) => data.kinds[k].verdict);

function buildLegend() {
  const all = [...new Set(data.rows.flatMap(verdicts))].sort();
  for (const verdict of all) {
    const li = make('li');
    li.append(sign(verdict), words(verdict));
    byId('legend').append(li);
    byId('verdict').append(make('option', words(verdict), { value: verdict }));
  }
}

const checked = (id) => byId(id) && byId(id).checked;

function filter() {
  const text = byId('search').value.trim().toLowerCase(), verdict = byId('verdict').value;
  let shown = 0;
  for (const tr of grid.tBodies[0].rows) {
    const r = data.rows[tr.dataset.row];
    const visible = (r.call.includes(text) || String(r.number) === text) &&
      (!verdict || verdicts(r).includes(verdict)) &&
      (!checked('varies') || r.varies) &&
      (!checked('differs') || r.differs.includes(true));
    tr.hidden = !visible;
    shown += visible;
  }
  byId('count').textContent = `${shown} of ${data.rows.length} calls`;
  rove(grid.querySelector('tbody tr:not([hidden]) td'));
  fit(); // columns are as wide as what is shown
}

// rove makes one cell the one that Tab reaches.
function rove(td) {
  for (const old of grid.querySelectorAll('td[tabindex="0"]')) old.tabIndex = -1;
  if (td) td.tabIndex = 0;
}

function show(target) {
  const td = target.closest && target.closest('td');
  if (td) detail.textContent = describe(data.rows[td.parentElement.dataset.row], td.cellIndex - 1);
  return td;
}

function move(event) {
  const td = event.target.closest('td');
  if (!td || event.altKey || event.metaKey) return;
  const rows = [...grid.tBodies[0].rows].filter((tr) => !tr.hidden);
  let y = rows.indexOf(td.parentElement), x = td.cellIndex;
  switch (event.key) {
    case 'ArrowUp': y -= 1; break;
    case 'ArrowDown': y += 1; break;
    case 'ArrowLeft': x -= 1; break;
    case 'ArrowRight': x += 1; break;
    case 'PageUp': y -= 10; break;
    case 'PageDown': y += 10; break;
    case 'Home': x = 1; if (event.ctrlKey) y = 0; break;
    case 'End': x = data.columns.length; if (event.ctrlKey) y = rows.length - 1; break;
    default: return;
  }
  event.preventDefault();
  y = Math.max(0, Math.min(rows.length - 1, y));
  x = Math.max(1, Math.min(data.columns.length, x));
  rows[y].cells[x].focus();
}

// fit keeps cells that are scrolled to from being under the sticky headers.
function fit() {
  const head = grid.tHead.rows[0].cells[0];
  grid.parentElement.style.scrollPadding = `${head.offsetHeight}px 0 0 ${head.offsetWidth}px`;
}

build();
buildLegend();
filter();
addEventListener('resize', fit);
document.querySelector('form').addEventListener('input', filter);
document.querySelector('form').addEventListener('submit', (e) => e.preventDefault());
grid.addEventListener('mouseover', (e) => show(e.target));
grid.addEventListener('focusin', (e) => rove(show(e.target)));
grid.addEventListener('keydown', move);
