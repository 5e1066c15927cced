const COLOURS: Readonly<Record<string, number>> = { debug: 90, info: 36, warn: 33, error: 31, fatal: 31 }
/** Fields that are useless to a person at a terminal, or shown elsewhere in the line. */
const LEFT_OUT = ['level', 'time', 'service', 'msg', 'reqId', 'address', 'userId', 'traceId', 'err', 'error']

interface Line extends Record<string, unknown> {
  level?: string
  time?: string
  msg?: string
  err?: { stack?: string; message?: string }
}

/** Turns JSON lines into readable lines; anything that is not JSON stays as it is. */
export function prettyLines(text: string): string {
  return text
    .split('\n')
    .filter(Boolean)
    .map(line => `${prettyLine(line)}\n`)
    .join('')
}

function prettyLine(json: string): string {
  let line: Line
  try {
    line = JSON.parse(json)
  } catch {
    return json
  }
  const { level = 'info', time = '', msg = '', err } = line
  const said = line.method === undefined ? [msg, ...factsOf(line)].join(' ') : requestOf(line)
  const stack = err === undefined ? '' : `\n${err.stack ?? err.message ?? ''}`
  return `\u001b[90m${time.slice(11, 19)}\u001b[0m \u001b[${COLOURS[level] ?? 0}m${level.padEnd(5)}\u001b[0m ${said}${stack}`
}

function requestOf({ method, route, path, status, responseTime }: Line): string {
  return `${method} ${path ?? route} ${status} ${Math.round(Number(responseTime))} ms`
}

function factsOf(line: Line): string[] {
  const facts = Object.entries(line).filter(([name]) => !LEFT_OUT.includes(name))
  return facts.map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
}
