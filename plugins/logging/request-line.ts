import type { FastifyBaseLogger } from 'fastify'
import type { Logger } from 'pino'
import { directLineOf } from './logger.ts'

/** What is known of a request when it is over. */
export interface RequestEntry {
  reqId: string
  method: string
  /** The pattern of the route. */
  route: string
  status: number
  /** Milliseconds. */
  responseTime: number
  address: string | undefined
  userId: string | undefined
  traceId: string | undefined
  outcome: 'aborted' | undefined
}

type Level = 'debug' | 'info' | 'error'
type WriteEntry = (level: Level, entry: RequestEntry) => void

const MESSAGE = 'request'

/**
 * Writes the line of a request. pino takes about 5 microseconds to turn these nine fields into JSON, a third of what a
 * bare request costs; for a logger of ours the same line is put together here, for less than one. Any other logger is
 * given the fields.
 */
export function entryWriter(log: FastifyBaseLogger): WriteEntry {
  const direct = directLineOf(log)
  if (direct === undefined) return (level, entry) => log[level](entry, MESSAGE)

  const { write, start } = direct
  const quotedRoute = memoized(JSON.stringify)
  return (level, entry) => {
    if (!(log as Logger).isLevelEnabled(level)) return
    const { reqId, method, route, status, responseTime, address, userId, traceId, outcome } = entry
    let line = `${start(level)},"reqId":${JSON.stringify(reqId)},"method":"${method}","route":${quotedRoute(route)}`
    line += `,"status":${status},"responseTime":${responseTime}`
    if (address !== undefined) line += `,"address":${JSON.stringify(address)}`
    if (userId !== undefined) line += `,"userId":${JSON.stringify(userId)}`
    if (traceId !== undefined) line += `,"traceId":"${traceId}"`
    if (outcome !== undefined) line += `,"outcome":"${outcome}"`
    write(`${line},"msg":"${MESSAGE}"}\n`)
  }
}

/** For a closed set of texts, such as the patterns of an app's routes. */
function memoized(transform: (text: string) => string): (text: string) => string {
  const known = new Map<string, string>()
  return text => {
    let transformed = known.get(text)
    if (transformed === undefined) {
      transformed = transform(text)
      known.set(text, transformed)
    }
    return transformed
  }
}
