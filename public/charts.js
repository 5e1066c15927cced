/* Charts. Without this file, pages show sparklines, or figures only. */

const COLOURS = ['--accent', '--good', '--warn', '--bad', '--faint']
const HEIGHT = 150
/** Milliseconds between two readings, and the number of readings to keep. */
const EVERY = 10_000
const MOST_READINGS = 360

const findAll = selector => [...document.querySelectorAll(selector)]
const NUMBERS = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

function inUnit(value, unit) {
  if (value === null || value === undefined) return 'unknown'
  if (unit === 'seconds' || unit === 's') return value < 1 ? `${NUMBERS.format(value * 1000)} ms` : `${NUMBERS.format(value)} s`
  if (unit === 'bytes') return value >= 1e9 ? `${NUMBERS.format(value / 1e9)} GB` : `${NUMBERS.format(value / 1e6)} MB`
  if (unit === 'percentunit') return `${NUMBERS.format(value * 100)} %`
  return unit === '%' || unit === 'MB' ? `${NUMBERS.format(value)} ${unit}` : NUMBERS.format(value)
}

async function json(url) {
  const response = await fetch(url, { headers: { accept: 'application/json' } })
  if (!response.ok) throw new Error(`${url}: ${response.status}`)
  return response.json()
}

/** @param files the URLs of the library and its style sheet */
export async function drawCharts({ uplot, uplotLook }) {
  const look = document.createElement('link')
  look.rel = 'stylesheet'
  look.href = uplotLook
  document.head.append(look)
  const { default: UPlot } = await import(uplot)
  const charts = new Map()

  function draw(place, { unit, series, data }) {
    const known = charts.get(place)
    if (known !== undefined) {
      known.shown = { unit, series, data }
      known.plot.setData(data)
      return
    }
    charts.set(place, { plot: make(place, { unit, series, data }), shown: { unit, series, data } })
  }

  function make(place, { unit, series, data }) {
    const colour = name => getComputedStyle(place).getPropertyValue(name).trim()
    const [line, faint] = [colour('--line'), colour('--faint')]
    // Canvases do not support light-dark(), but the computed colour of an element is a plain one.
    const probe = document.createElement('i')
    place.append(probe)
    const plain = value => {
      probe.style.color = value
      return getComputedStyle(probe).color
    }
    const axis = { stroke: plain(faint), grid: { stroke: plain(line), width: 1 }, ticks: { show: false }, font: '11px system-ui', size: 56 }
    const options = {
      width: Math.max(place.clientWidth - 32, 160),
      height: HEIGHT,
      cursor: { y: false },
      legend: { live: true },
      scales: { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [{ ...axis, size: 28 }, { ...axis, values: (_plot, ticks) => ticks.map(tick => inUnit(tick, unit)) }],
      series: [
        {},
        ...series.map((label, at) => ({
          label,
          stroke: plain(colour(COLOURS[at % COLOURS.length])),
          width: 1.5,
          spanGaps: false,
          points: { show: false },
          value: (_plot, value) => inUnit(value, unit)
        }))
      ]
    }
    probe.remove()
    const holder = document.createElement('div')
    for (const before of place.querySelectorAll('svg, .faint, .plot')) before.remove()
    holder.className = 'plot'
    place.append(holder)
    return new UPlot(options, data, holder)
  }

  /** After a change of the theme or the size, all charts are created again. */
  function redraw() {
    for (const [place, known] of charts) {
      known.plot.destroy()
      known.plot = make(place, known.shown)
    }
  }
  let soon
  const redrawSoon = () => {
    clearTimeout(soon)
    soon = setTimeout(redraw, 100)
  }
  addEventListener('resize', redrawSoon)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawSoon)
  new MutationObserver(redrawSoon).observe(document.documentElement, { attributeFilter: ['data-theme'] })

  /** Repeats `read` while the page is visible. A failed read is retried at the next interval. */
  function repeatedly(read) {
    const attempt = async () => {
      if (document.hidden) return
      try {
        await read()
      } catch (error) {
        console.debug('the metrics could not be read', error)
      }
    }
    setInterval(attempt, EVERY)
    document.addEventListener('visibilitychange', attempt)
    return attempt()
  }

  for (const group of findAll('[data-charts]'))
    await repeatedly(async () => {
      const { charts: current } = await json(group.dataset.charts)
      for (const { id, unit, series, data } of current) {
        const place = group.querySelector(`[data-chart="${CSS.escape(id)}"]`)
        if (place !== null && data[0]?.length > 1) draw(place, { unit, series, data })
      }
    })

  /** Collects current readings into a curve while the page is open. */
  for (const group of findAll('[data-readings]')) {
    const taken = { cpu: [[], []], memory: [[], []], requests: [[], [], []] }
    await repeatedly(async () => {
      const { cpuPercent, memory, requests } = await json(group.dataset.readings)
      const now = Date.now() / 1000
      const values = { cpu: [cpuPercent], memory: [memory.usedMb], requests: [requests.perSec, requests.perSec * requests.errorRate] }
      for (const [id, rows] of Object.entries(taken)) {
        for (const [at, value] of [now, ...values[id]].entries()) {
          rows[at].push(value)
          if (rows[at].length > MOST_READINGS) rows[at].shift()
        }
      }
      if (taken.cpu[0].length < 2) return
      group.hidden = false
      for (const place of group.querySelectorAll('[data-chart]'))
        draw(place, { unit: place.dataset.unit, series: place.dataset.series.split(','), data: taken[place.dataset.chart] })
    })
  }
}
