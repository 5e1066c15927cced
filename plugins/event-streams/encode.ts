/** One server-sent event, as defined by the HTML standard. */
export interface ServerEvent {
  /** Sent back by a reconnecting client as `Last-Event-ID`. */
  readonly id?: string | number
  /** Event name; default `message`. */
  readonly event?: string
  /** Strings are sent as they are, everything else as JSON. */
  readonly data: unknown
}

/** Everything a client treats as a line break. In untrusted text, one of these could inject a field. */
const LINE_BREAK = /\r\n|\r|\n/
const NOT_IN_FIELDS = /[\r\n\0]/g

export function encode({ id, event, data }: ServerEvent): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  const lines = text.split(LINE_BREAK).map(line => `data: ${line}\n`)
  return `${field('id', id)}${field('event', event)}${lines.join('')}\n`
}

/** A comment that keeps the connection open; clients ignore it. */
export const HEARTBEAT = ':\n\n'

/** @param delay milliseconds a client waits before reconnecting */
export const encodeRetry = (delay: number): string => `retry: ${Math.round(delay)}\n\n`

function field(name: string, value: string | number | undefined): string {
  return value === undefined ? '' : `${name}: ${String(value).replaceAll(NOT_IN_FIELDS, '')}\n`
}
