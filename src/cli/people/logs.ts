import type { Page } from '../client.ts'
import { defineCommand, type Input, UsageError } from '../command.ts'
import { connect } from '../connect.ts'
import { follow } from '../event-stream.ts'
import { type Colour, painted, type Terminal, withoutControls } from '../terminal.ts'
import { appOption, chosenApp, pathOf } from './app.ts'
import { numberUpTo } from './deployments.ts'

interface Line {
  readonly id: number
  readonly at: string
  readonly level: string
  readonly source: string
  readonly message: string
}

const LEVELS = ['debug', 'info', 'warn', 'error']
const COLOURS: Readonly<Record<string, Colour>> = { debug: 'grey', warn: 'yellow', error: 'red' }
const MOST = 1_000
const DURATION = /^(\d+)([smhd])$/
const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export const logs = defineCommand({
  name: 'logs',
  summary: 'Print the log of an app; -f follows it.',
  examples: ['rhone logs hello', 'rhone logs hello -f', 'rhone logs hello --since 1h --level error'],
  args: ['[app]'],
  options: {
    ...appOption,
    follow: { type: 'boolean', short: 'f', description: 'Follow new lines, until Ctrl-C.' },
    lines: {
      type: 'string',
      short: 'n',
      value: '<number>',
      description: 'How many past lines to show, up to 1000. Default: 100.'
    },
    since: { type: 'string', value: '<moment>', description: 'Only lines since then: 30m, 2h, or a date.' },
    level: { type: 'string', value: LEVELS.join('|'), description: 'Only lines with this level.' },
    search: { type: 'string', value: '<text>', description: 'Only lines that contain this text.' }
  },
  printsData: true,
  forDeployers: true,
  async run(input) {
    const { follow: isFollowing = false, lines = '100', since, level, search } = input.options
    if (level !== undefined && !LEVELS.includes(level))
      throw new UsageError(`--level: "${level}" is not one of ${LEVELS.join(', ')}`)
    const limit = numberUpTo(MOST, '--lines', lines)
    const query = new URLSearchParams({
      limit: String(limit),
      ...(since !== undefined && { since: instantOf(since) }),
      ...(level !== undefined && { level }),
      ...(search !== undefined && { search })
    })
    const client = await connect(input)
    const path = `${pathOf(await chosenApp(input, input.args[0]))}/logs`
    const { items } = await client.request<Page<Line>>('GET', `${path}?${query}`)
    items.reverse()
    if (!isFollowing) {
      if (items.length === 0) input.note('No log lines match.')
      return { data: items, text: items.map(line => shown(line, input.terminal)).join('\n') }
    }

    for (const line of items) await print(input, line)
    const matches = ({ level: found, message }: Line) =>
      (level === undefined || found === level) &&
      (search === undefined || message.toLowerCase().includes(search.toLowerCase()))
    const signal = input.interruption()
    const onGap = (why: string) => input.note(`(${why}; trying again)`)
    // Without an earlier line, the stream begins with new lines.
    const last = items.at(-1)?.id
    const options = { signal, onGap, ...(last !== undefined && { after: String(last) }) }
    for await (const { event, data } of follow(client, `${path}/live`, options)) {
      if (event === 'dropped') input.note(`(${(JSON.parse(data) as { count: number }).count} lines were dropped)`)
      if (event !== 'log') continue
      const { timestamp, ...line } = JSON.parse(data) as Line & { timestamp: string }
      const found = { ...line, at: timestamp }
      if (matches(found)) await print(input, found)
    }
    return undefined
  }
})

/** With `--json`, prints one JSON object per line: a list would never end. */
function print({ json, terminal, write }: Pick<Input, 'json' | 'terminal' | 'write'>, line: Line): Promise<void> {
  return write(`${json ? JSON.stringify(line) : shown(line, terminal)}\n`)
}

function shown({ at, level, source, message }: Line, terminal: Terminal): string {
  const time = painted(terminal, 'grey', at.replace('T', ' ').replace(/\.\d+Z$/, 'Z'))
  const text = withoutControls(message).replaceAll('\n', ' ')
  const said = COLOURS[level] === undefined ? text : painted(terminal, COLOURS[level], text)
  return `${time} ${source === 'app' ? '' : `[${source}] `}${said}`
}

function instantOf(text: string, now = Date.now()): string {
  const [, amount, unit] = DURATION.exec(text) ?? []
  const at =
    amount && unit
      ? now - Number(amount) * UNITS[unit]!
      : /^\d{4}-\d{2}-\d{2}/.test(text)
        ? Date.parse(text)
        : Number.NaN
  if (!Number.isNaN(at) && Math.abs(at) < 8.64e15) return new Date(at).toISOString()
  throw new UsageError(`--since: "${text}" is not a time; use an age such as 30m, or a date such as 2030-01-31`)
}
