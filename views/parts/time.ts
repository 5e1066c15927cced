import { type Html, html } from '../../plugins/lib/html.ts'

export type Instant = Date | string

const UNITS = [
  [60, 's'],
  [60, 'm'],
  [24, 'h'],
  [30, 'd'],
  [12, 'mo'],
  [Number.POSITIVE_INFINITY, 'y']
] as const

/** A span in its largest unit: `5 s`, `3 min`, `2 h`. */
function inUnits(seconds: number): string {
  let left = Math.max(0, seconds)
  for (const [size, unit] of UNITS) {
    if (left < size) return `${Math.floor(left)}${unit}`
    left /= size
  }
  return ''
}

/** How long ago, or in how long: `now`, `5m ago`, `in 3d`. The script keeps it up to date. */
export function relative(at: Instant, now: Date): string {
  const seconds = (now.getTime() - new Date(at).getTime()) / 1_000
  if (Math.abs(seconds) < 10) return 'now'
  return seconds > 0 ? `${inUnits(seconds)} ago` : `in ${inUnits(-seconds)}`
}

/** To the minute, in UTC, because readers are in any time zone. The script adds their local time. */
export function exact(at: Instant): string {
  return `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** A relative time, with the exact one on hover and focus. */
export function ago(at: Instant, now: Date): Html {
  return html`<time datetime="${new Date(at).toISOString()}" title="${exact(at)}" data-relative>${relative(at, now)}</time>`
}

/** A date and time in full. */
export function moment(at: Instant): Html {
  return html`<time datetime="${new Date(at).toISOString()}" data-exact>${exact(at)}</time>`
}

/** A duration for people: `840ms`, `12.4s`, `3m 20s`, `1h 5m`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)}ms`
  const seconds = milliseconds / 1_000
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}m ${Math.floor(seconds % 60)}s`
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`
}
