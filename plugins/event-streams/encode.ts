/** One event, as the HTML standard has it. */
export interface ServerEvent {
  /** What a client that comes back says it has seen: `Last-Event-ID`. */
  readonly id?: string | number
  /** Its name; absent: `message`. */
  readonly event?: string
  /** Text as it is; everything else as JSON. */
  readonly data: unknown
}

/** What a client takes for the end of a line. In text that others have written, one of these could begin a field. */
const LINE_BREAK = /\r\n|\r|\n/
const NOT_IN_FIELDS = /[\r\n\0]/g

export function encode({ id, event, data }: ServerEvent): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  const lines = text.split(LINE_BREAK).map(line => `data: ${line}\n`)
  return `${field('id', id)}${field('event', event)}${lines.join('')}\n`
}

/** Keeps the connection open, and is told to nobody. */
export const HEARTBEAT = ':\n\n'

/** @param delay milliseconds that a client waits before it comes back */
export const encodeRetry = (delay: number): string => `retry: ${Math.round(delay)}\n\n`

function field(name: string, value: string | number | undefined): string {
  return value === undefined ? '' : `${name}: ${String(value).replaceAll(NOT_IN_FIELDS, '')}\n`
}
