import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, RETRYABLE_STATUSES, Refused, reason, Unreachable } from './client.ts'
import { CommandError } from './command.ts'

/** One server-sent event. */
export interface StreamEvent {
  readonly event: string
  readonly data: string
  readonly id: string | undefined
}

export interface FollowOptions {
  /** The id of the last event already seen. */
  readonly after?: string
  readonly signal: AbortSignal
  /** Called when the stream breaks and is reopened. */
  readonly onGap?: (why: string) => void
  /** The name of the event that ends the stream; absent: it never ends. */
  readonly last?: string
  /** Milliseconds without a connection after which to give up. */
  readonly patience?: number
}

/** Milliseconds of silence, without even a heartbeat, after which a connection counts as lost. */
const SILENCE = 60_000
const FIRST_DELAY = 500
const LONGEST_DELAY = 10_000
const PATIENCE = 5 * 60_000

/**
 * Follows an event stream across lost connections, continuing from the last event each time.
 * @throws CommandError when the server refuses the stream, or is unreachable for longer than `patience`
 */
export async function* follow(client: Client, path: string, options: FollowOptions): AsyncGenerator<StreamEvent> {
  const { signal, onGap, last, patience = PATIENCE } = options
  let id = options.after
  let delay = FIRST_DELAY
  let lastSeen = Date.now()
  while (!signal.aborted) {
    let why = 'the server closed it'
    let wait = 0
    try {
      const headers = { accept: 'text/event-stream', ...(id !== undefined && { 'last-event-id': id }) }
      for await (const event of connection(client, path, headers, signal)) {
        lastSeen = Date.now()
        delay = FIRST_DELAY
        id = event.id ?? id
        yield event
        if (event.event === last) return
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof Refused && !RETRYABLE_STATUSES.has(error.status)) throw error
      if (error instanceof Refused) wait = (error.retryAfter ?? 0) * 1_000
      why = error instanceof CommandError ? error.message : reason(error)
    }
    if (signal.aborted) return
    if (Date.now() - lastSeen > patience) throw new CommandError(`the stream was interrupted: ${why}`)
    onGap?.(why)
    await sleep(Math.max(wait, delay), undefined, { signal }).catch(() => {})
    delay = Math.min(delay * 2, LONGEST_DELAY)
  }
}

async function* connection(
  client: Client,
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal
): AsyncGenerator<StreamEvent> {
  const ended = new AbortController()
  const reply = await client.open(path, headers, AbortSignal.any([signal, ended.signal]))
  if (reply.body === null) return
  const timer = setTimeout(() => ended.abort(new Unreachable('the server sent nothing')), SILENCE)
  try {
    yield* parse(reply.body.pipeThrough(new TextDecoderStream()), () => timer.refresh())
  } finally {
    clearTimeout(timer)
    ended.abort()
  }
}

/** Parses server-sent events as defined by the HTML standard, as far as our server uses them. */
async function* parse(chunks: AsyncIterable<string>, onChunk: () => void): AsyncGenerator<StreamEvent> {
  let rest = ''
  for await (const chunk of chunks) {
    onChunk()
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const event = eventOf(block)
      if (event !== undefined) yield event
    }
  }
}

function eventOf(block: string): StreamEvent | undefined {
  let event = 'message'
  let id: string | undefined
  const data: string[] = []
  for (const line of block.split('\n')) {
    const [, field, value] = /^([^:]+): ?(.*)$/s.exec(line) ?? []
    if (field === 'event') event = value!
    else if (field === 'id') id = value!
    else if (field === 'data') data.push(value!)
  }
  return data.length === 0 ? undefined : { event, id, data: data.join('\n') }
}
