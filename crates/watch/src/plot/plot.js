// Figures under the pointer: read back from the lines themselves, so that nothing is in the page twice.
(() => {
  const SIZES = {
    bytes: [[1024 ** 4, ' TiB'], [1024 ** 3, ' GiB'], [1024 ** 2, ' MiB'], [1024, ' KiB'], [1, ' B']],
    count: [[1e9, ' G'], [1e6, ' M'], [1e4, ' k', 1e3], [0, '', 1]],
    seconds: [[172800, ' d', 86400], [7200, ' h', 3600], [120, ' min', 60], [1, ' s'], [1e-3, ' ms'], [0, ' µs', 1e-6]],
    percent: [[0, ' %', 1]],
  };
  const text = (unit, value) => {
    const sizes = SIZES[unit] || SIZES[unit.startsWith('bytes') ? 'bytes' : 'count'];
    const [from, name, by = from] = sizes.find(([from]) => Math.abs(value) >= from) || sizes[sizes.length - 1];
    return (value / by).toLocaleString('en', {maximumSignificantDigits: 4}) + name + (unit === 'bytes-per-hour' ? '/h' : unit === 'per-second' ? '/s' : '');
  };
  const when = (axis, time) => axis === 'utc' ? new Date(time * 1000).toISOString().slice(0, 16).replace('T', ' ') + ' UTC' : text('seconds', time);
  // The figure of a line at a place, or none where it is interrupted.
  const at = (points, x) => {
    let low = 0, high = points.length - 1;
    if (high < 0 || x < points[0][0] || x > points[high][0]) return null;
    while (high - low > 1) { const middle = (low + high) >> 1; points[middle][0] <= x ? low = middle : high = middle; }
    const [left, right] = [points[low], points[high]];
    if (right[2] && right[0] > x) return null;
    return right[0] === left[0] ? right[1] : left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0]);
  };
  for (const svg of document.querySelectorAll('svg.plot')) {
    const {unit, axis} = svg.dataset, [from, to, low, high] = ['from', 'to', 'low', 'high'].map(name => Number(svg.dataset[name]));
    const room = svg.querySelector('.room'), height = room.viewBox.baseVal.height, columns = room.viewBox.baseVal.width;
    const lines = [...room.querySelectorAll('.line')].map(path => ({
      name: path.dataset.name, class: [...path.classList].filter(one => one !== 'line').join(' '),
      points: [...path.getAttribute('d').matchAll(/([ML])([-\d.]+) ([-\d.]+)/g)].map(([, letter, x, y]) => [Number(x), Number(y), letter === 'M']),
    }));
    // The browser's own tip would lie upon ours.
    const title = svg.querySelector('title');
    svg.setAttribute('aria-label', title.textContent); title.remove();
    const cursor = document.createElementNS(svg.namespaceURI, 'line'), tip = document.createElement('div');
    cursor.setAttribute('class', 'cursor'); cursor.setAttribute('visibility', 'hidden');
    cursor.setAttribute('y1', room.getAttribute('y')); cursor.setAttribute('y2', Number(room.getAttribute('y')) + height);
    tip.className = 'plot-tip'; tip.hidden = true;
    svg.append(cursor); svg.parentElement.append(tip);
    const hide = () => { tip.hidden = true; cursor.setAttribute('visibility', 'hidden'); };
    svg.addEventListener('pointerleave', hide);
    svg.addEventListener('pointermove', event => {
      const box = room.getBoundingClientRect(), outer = svg.parentElement.getBoundingClientRect();
      const style = getComputedStyle(svg), left = svg.getBoundingClientRect().left + parseFloat(style.paddingLeft);
      const width = svg.getBoundingClientRect().right - parseFloat(style.paddingRight) - left;
      const part = (event.clientX - left) / width;
      if (part < 0 || part > 1 || !box.height) return hide();
      const rows = lines.map(line => [line, at(line.points, part * columns)]).filter(([, y]) => y !== null).map(([line, y]) => {
        const row = document.createElement('div'), key = document.createElement('i'), value = document.createElement('b');
        key.className = line.class; value.textContent = text(unit, high - y / height * (high - low));
        row.append(key, line.name, value);
        return row;
      });
      const head = document.createElement('div');
      head.textContent = when(axis, from + part * (to - from));
      tip.replaceChildren(head, ...rows); tip.hidden = false;
      for (const end of ['x1', 'x2']) cursor.setAttribute(end, part * 100 + '%');
      cursor.setAttribute('visibility', 'visible');
      const x = event.clientX - outer.left, room_right = outer.width - tip.offsetWidth - 4;
      tip.style.left = Math.max(0, x + 14 > room_right ? x - tip.offsetWidth - 14 : x + 14) + 'px';
      tip.style.top = Math.max(0, event.clientY - outer.top - tip.offsetHeight - 10) + 'px';
    });
  }
})();
