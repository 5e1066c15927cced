import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { isLoopback, RETRYABLE_STATUSES, Refused, refusalOf, send, Unreachable } from '../client.ts'
import { CommandError, type Input } from '../command.ts'
import { spinner, withoutControls } from '../terminal.ts'
import { openBrowser } from './open.ts'

interface Begun {
  readonly deviceCode: string
  readonly userCode: string
  readonly verificationUri: string
  readonly verificationUriComplete: string
  readonly expiresIn: number
  readonly interval: number
}

interface Outcome {
  readonly status: 'authorization_pending' | 'slow_down' | 'access_denied' | 'expired_token' | 'approved'
  readonly interval: number
  readonly token?: string
  readonly tokenId?: string
}

const PATH = '/api/v1/auth/device'
/** Minimum seconds between two polls, whatever the server says. */
const SHORTEST = 0.01
const LONGEST = 60
const AGAIN = 'To try again: rhone login'

type LoginInput = Pick<Input, 'note' | 'terminal' | 'interruption' | 'variables'>

/**
 * Gets a token that the user approves in a browser, by the device flow of RFC 8628.
 * @throws CommandError when the user denies it, does not answer in time, or presses Ctrl-C
 */
export async function logInByBrowser(
  input: LoginInput,
  server: string,
  scopes: readonly string[]
): Promise<{ token: string; tokenId?: string }> {
  const begun = await begin(server, scopes)
  const page = pageOf(server, begun)
  const signal = input.interruption()
  input.note(`Approve this login in a browser, after comparing the code:\n\n  ${withoutControls(begun.userCode)}\n`)
  input.note(`  ${withoutControls(page)}\n`)
  if (input.terminal.err && !(await openBrowser(page, await input.variables())))
    input.note('(No browser found here: open the page on any machine.)')

  const waiting = spinner(input.terminal, text => process.stderr.write(text))
  waiting.show('waiting for the approval in the browser; Ctrl-C stops')
  try {
    return await outcomeOf(server, begun, signal)
  } finally {
    waiting.clear()
  }
}

async function begin(server: string, scopes: readonly string[]): Promise<Begun> {
  try {
    return await post<Begun>(server, PATH, { name: `rhone on ${hostname().slice(0, 80) || 'a computer'}`, scopes })
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 404 && error.status !== 405)) throw error
    throw new CommandError(
      `${server} does not support login by browser. Create a token in its settings, and save it with: rhone login --token -`
    )
  }
}

/** Uses the name by which this machine knows the server: under another name, the browser would not be signed in. */
function pageOf(server: string, { verificationUriComplete }: Begun): string {
  const page = new URL(verificationUriComplete, server)
  if (!isLoopback(page.hostname) || !isLoopback(new URL(server).hostname)) return page.href
  return new URL(page.pathname + page.search, server).href
}

async function outcomeOf(server: string, begun: Begun, signal: AbortSignal) {
  const end = Date.now() + begun.expiresIn * 1_000
  let { interval } = begun
  let problem = ''
  while (Date.now() < end) {
    await sleep(Math.min(LONGEST, Math.max(SHORTEST, interval)) * 1_000, undefined, { signal }).catch(() => {})
    if (signal.aborted) throw new CommandError('login stopped; nothing was saved')
    try {
      const outcome = await post<Outcome>(server, `${PATH}/token`, { deviceCode: begun.deviceCode })
      problem = ''
      interval = outcome.interval
      if (outcome.status === 'approved' && outcome.token !== undefined)
        return { token: outcome.token, ...(outcome.tokenId !== undefined && { tokenId: outcome.tokenId }) }
      if (outcome.status === 'access_denied') throw new CommandError('the login was denied in the browser')
      if (outcome.status === 'expired_token') break
    } catch (error) {
      if (!(error instanceof Unreachable || (error instanceof Refused && RETRYABLE_STATUSES.has(error.status))))
        throw error
      problem = ` (${error.message})`
      interval = Math.max(interval, error instanceof Refused ? (error.retryAfter ?? 0) : 0)
    }
  }
  throw new CommandError(`the code expired before anybody approved it${problem}. ${AGAIN}`)
}

/** A request without a token. */
async function post<Body>(server: string, path: string, body: object): Promise<Body> {
  const reply = await send(new URL(path, server), {
    method: 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
  const text = await reply.text()
  if (!reply.ok) throw refusalOf(reply, text, server)
  return JSON.parse(text) as Body
}
