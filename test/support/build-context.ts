import type { BuildContext, BuildPhase, BuildRequest } from '../../integrations/builder/port.ts'

export interface RecordedContext extends BuildContext {
  readonly phases: BuildPhase[]
  readonly hidden: string[]
  /** The logged output. */
  log(): string
  cancel(reason?: Error): void
}

/** A build context that records its use. */
export function recordedContext(more: Partial<Pick<BuildContext, 'enter'>> = {}): RecordedContext {
  const canceller = new AbortController()
  const phases: BuildPhase[] = []
  const hidden: string[] = []
  let log = ''
  return {
    signal: canceller.signal,
    phases,
    hidden,
    log: () => log,
    cancel: (reason = new Error('cancelled')) => canceller.abort(reason),
    async enter(phase) {
      phases.push(phase)
      await more.enter?.(phase)
    },
    say(text) {
      log += text
    },
    note(line) {
      log += line
    },
    hide: secret => void hidden.push(secret)
  }
}

export function buildRequest(url: string, more: Partial<BuildRequest> & { branch?: string } = {}): BuildRequest {
  return {
    deploymentId: crypto.randomUUID(),
    app: { id: '0c9b2a52-5f0e-4a4b-9d53-2f1f1b0d7a10', slug: 'shop', flyAppId: 'rhone-ada-shop-x1y2z3' },
    source: { url, branch: more.branch ?? 'main' },
    secrets: {},
    ...more
  }
}
