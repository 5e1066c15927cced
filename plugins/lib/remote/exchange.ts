import { RemoteError, type RemoteFailure } from './error.ts'

/** The service and operation, as named in errors. */
export interface Subject {
  readonly service: string
  readonly operation: string
}

export interface Outgoing {
  readonly url: string
  readonly method: string
  readonly headers: Headers
  readonly body: string | Uint8Array<ArrayBuffer> | undefined
}

const LATE = Symbol('late')

/** One request and its answer. It ends on completion, on abort, or at its time limit, which can be lifted. */
export class Exchange {
  readonly #subject: Subject
  readonly #outer: AbortSignal | undefined
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #onAbort = () => this.#controller.abort(this.#outer?.reason)

  /** @param timeout milliseconds */
  constructor(subject: Subject, timeout: number, outer: AbortSignal | undefined) {
    outer?.throwIfAborted()
    this.#subject = subject
    this.#outer = outer
    this.#timer = setTimeout(() => this.#controller.abort(LATE), timeout)
    outer?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Sends the request. Redirects are not followed, because they lead outside the configured service. */
  send({ url, ...init }: Outgoing): Promise<Response> {
    return fetch(url, { ...init, redirect: 'manual', signal: this.#controller.signal } as RequestInit)
  }

  /** Lifts the time limit; from now on only the caller can abort. */
  liftLimit(): void {
    clearTimeout(this.#timer)
  }

  /** Ends the exchange and closes whatever is still open. */
  end(): void {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#onAbort)
    this.#controller.abort()
  }

  failure(kind: RemoteFailure, more: { status?: number; retryAfter?: number | undefined; detail?: string } = {}) {
    return new RemoteError({ ...this.#subject, kind, ...more })
  }

  /** Maps a transport error to its cause. */
  explain(error: unknown): unknown {
    if (error instanceof RemoteError) return error
    if (this.#controller.signal.reason === LATE) return this.failure('timeout')
    if (this.#outer?.aborted) return this.#outer.reason
    const cause = error instanceof Error ? (error.cause ?? error) : error
    return new RemoteError({ ...this.#subject, kind: 'network', cause })
  }

  /** The body as text. @throws RemoteError if it is longer than `maxBytes` */
  async textOf(response: Response, maxBytes: number): Promise<string> {
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength
      if (size > maxBytes) throw this.failure('shape', { detail: `the reply exceeds ${maxBytes} bytes` })
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString('utf8')
  }

  /** The body in chunks; the exchange ends when the body ends or the reader stops. */
  async *chunksOf(response: Response): AsyncGenerator<Uint8Array, void, void> {
    try {
      for await (const chunk of response.body ?? []) yield chunk
    } catch (error) {
      throw this.explain(error)
    } finally {
      this.end()
    }
  }
}
