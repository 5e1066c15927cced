import type { Dashboard, Panel, Row } from './panels.ts'

const COLUMNS = 24
const PANEL = { graph: { w: 12, h: 8 }, stat: { w: 6, h: 5 } } as const
// biome-ignore lint/suspicious/noTemplateCurlyInString: a Grafana variable
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }

interface GridPos {
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

/**
 * A dashboard as Grafana provisions it. The data source is a variable: a `${DS_PROMETHEUS}`, as exports have it, works only
 * for manual imports, and breaks provisioning.
 */
export function grafanaDashboard(dashboard: Dashboard): object {
  return {
    uid: dashboard.uid,
    title: dashboard.title,
    tags: ['rhone'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    timezone: 'utc',
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Data source', current: {}, hide: 0 }
      ]
    },
    annotations: {
      list: [
        annotation('Maintenance', 'max(rhone_maintenance) > 0', 'orange'),
        annotation('Deployments', 'sum(increase(rhone_deployments_total{status="live"}[1m])) > 0', 'blue')
      ]
    },
    panels: laidOut(dashboard.rows)
  }
}

function annotation(name: string, expr: string, iconColor: string): object {
  return { name, datasource: DATASOURCE, enable: true, expr, iconColor, step: '60s', titleFormat: name }
}

/** Places panels from left to right, row by row; each row of the list starts a new line. */
function laidOut(rows: readonly Row[]): object[] {
  const placed: object[] = []
  let id = 1
  let y = 0
  for (const row of rows) {
    const header = { x: 0, y: y++, w: COLUMNS, h: 1 }
    placed.push({ id: id++, type: 'row', title: row.title, collapsed: false, gridPos: header, panels: [] })
    let [x, height] = [0, 0]
    for (const panel of row.panels) {
      const { w, h } = PANEL[panel.kind]
      if (x + w > COLUMNS) [x, y, height] = [0, y + height, 0]
      placed.push(grafanaPanel(panel, id++, { x, y, w, h }))
      x += w
      height = Math.max(height, h)
    }
    y += height
  }
  return placed
}

function grafanaPanel({ title, unit, query, legend, kind, threshold }: Panel, id: number, gridPos: GridPos): object {
  const target = { refId: 'A', datasource: DATASOURCE, expr: query, legendFormat: legend, range: true }
  const shared = { id, title, gridPos, datasource: DATASOURCE, targets: [target] }
  const defaults = { unit, thresholds: thresholds(threshold) }
  if (kind === 'stat')
    return {
      ...shared,
      type: 'stat',
      fieldConfig: { defaults, overrides: [] },
      options: { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, colorMode: 'value' }
    }
  const custom = {
    drawStyle: 'line',
    fillOpacity: 8,
    lineWidth: 1,
    thresholdsStyle: { mode: threshold ? 'dashed' : 'off' }
  }
  return {
    ...shared,
    type: 'timeseries',
    fieldConfig: { defaults: { ...defaults, min: 0, custom }, overrides: [] },
    options: { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi' } }
  }
}

function thresholds(threshold: Panel['threshold']): object {
  if (threshold === undefined) return { mode: 'absolute', steps: [{ color: 'green', value: null }] }
  const [low, high] = threshold.bad === 'above' ? ['green', 'red'] : ['red', 'green']
  return {
    mode: 'absolute',
    steps: [
      { color: low, value: null },
      { color: high, value: threshold.value }
    ]
  }
}
