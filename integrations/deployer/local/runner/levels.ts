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

/** Characters of a line that are searched for a level. */
const LOOKED_AT = 256
/**
 * A level in a typical position, not within a sentence: logfmt's `level=warn`, `WARNING:root:`, `[error]`, or
 * `2026-01-01 12:00:00 ERROR`.
 */
const IN_TEXT = [
  /(?:^|\s)(?:level|lvl|severity)="?([A-Za-z]{3,9})\b/,
  /^[[(]?([A-Za-z]{3,9})[\])]?:(?:\s|[\w.]{1,40}:|$)/,
  /^[[(]([A-Za-z]{3,9})[\])](?:\s|$)/,
  /^[\d\-:.,TZ/+ [\]]{8,40}[[(]?([A-Z]{3,9})\b/
]
/** Typical beginnings of error messages in many languages. */
const FAILURE =
  /^(?:Uncaught |Unhandled |Traceback |panic: |fatal error: |thread '[^']{1,40}' panicked|[\w.]{0,60}(?:Error|Exception)(?::| \[|$))/

/**
 * The level of a line: from JSON, by name or pino's number; from logfmt; or from a leading word. The stream is ignored,
 * since many programs write their whole log to standard error.
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
    // Not JSON after all.
    return undefined
  }
}

function named(word: string | undefined): Level | undefined {
  const name = word?.toLowerCase() ?? ''
  return Object.hasOwn(NAMED_LEVELS, name) ? NAMED_LEVELS[name] : undefined
}
