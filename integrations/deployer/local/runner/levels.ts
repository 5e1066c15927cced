import type { RuntimeLine } from '../../port.ts'

type Level = RuntimeLine['level']

const NAMED_LEVELS: Readonly<Record<string, Level>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  notice: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  err: 'error',
  critical: 'error',
  crit: 'error',
  alert: 'error',
  emergency: 'error',
  fatal: 'error',
  panic: 'error'
}

/** Characters of a line in which a level is looked for. */
const LOOKED_AT = 256
/** `level=warn` of logfmt, `WARNING:root:`, `[error]`, `2026-01-01 12:00:00 ERROR`: a word in its place, and not in a sentence. */
const IN_TEXT = [
  /(?:^|\s)(?:level|lvl|severity)="?([A-Za-z]{3,9})\b/,
  /^[[(]?([A-Za-z]{3,9})[\])]?:(?:\s|[\w.]{1,40}:|$)/,
  /^[[(]([A-Za-z]{3,9})[\])](?:\s|$)/,
  /^[\d\-:.,TZ/+ [\]]{8,40}[[(]?([A-Z]{3,9})\b/
]
/** How programs of many languages begin to say that they have failed. */
const FAILURE =
  /^(?:Uncaught |Unhandled |Traceback |panic: |fatal error: |thread '[^']{1,40}' panicked|[\w.]{0,60}(?:Error|Exception)(?::| \[|$))/

/**
 * The level that a line names: as JSON, by a word or a number of pino's; as logfmt; or in front of its text. The stream
 * tells nothing: many programs write all of their log to their standard error.
 */
export function levelOf(line: string): Level {
  const start = line.slice(0, LOOKED_AT)
  return levelInJson(line) ?? levelInText(start) ?? (FAILURE.test(start) ? 'error' : 'info')
}

function levelInText(text: string): Level | undefined {
  for (const pattern of IN_TEXT) {
    const level = named(pattern.exec(text)?.[1])
    if (level !== undefined) return level
  }
  return undefined
}

function levelInJson(line: string): Level | undefined {
  if (!line.startsWith('{') || !/"(?:level|severity)"/.test(line)) return undefined
  try {
    const { level, severity } = JSON.parse(line)
    if (typeof level === 'number') return level < 30 ? 'debug' : level < 40 ? 'info' : level < 50 ? 'warn' : 'error'
    return named(String(level ?? severity))
  } catch {
    // It only looks like JSON.
    return undefined
  }
}

function named(word: string | undefined): Level | undefined {
  const name = word?.toLowerCase() ?? ''
  return Object.hasOwn(NAMED_LEVELS, name) ? NAMED_LEVELS[name] : undefined
}
