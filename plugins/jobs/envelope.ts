import type { Origin } from '../lib/tracing-port.ts'

/** The key beside a job's own data under which its origin is stored. */
const KEY = '$origin'

/** Adds to a job's data where it came from. */
export function addOrigin(data: object, origin: Origin | undefined): object {
  return origin === undefined ? data : { ...data, [KEY]: origin }
}

/** Separates a job's data from its origin. The origin is checked: another version may have written it. */
export function open(data: object): { content: object; origin: Origin | undefined } {
  const { [KEY]: stored, ...content } = data as Record<string, unknown>
  return { content, origin: readOrigin(stored) }
}

function readOrigin(stored: unknown): Origin | undefined {
  if (typeof stored !== 'object' || stored === null) return undefined
  const { requestId, traceparent } = stored as Record<string, unknown>
  return { requestId: text(requestId), traceparent: text(traceparent) }
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value.slice(0, 100) : undefined)
