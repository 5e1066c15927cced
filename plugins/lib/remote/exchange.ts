import { RemoteError, type RemoteFailure } from './error.ts'

/** Who asks whom for what, as errors name it. */
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

/** One request and its answer, under a time limit that can be lifted, until it is over or its caller aborts it. */
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

  /** Sends it. Where a redirect leads to is none of our services, and is not followed. */
  send({ url, ...init }: Outgoing): Promise<Response> {
    return fetch(url, { ...init, redirect: 'manual', signal: this.#controller.signal } as RequestInit)
  }

  /** From now on only the caller ends it. */
  liftLimit(): void {
    clearTimeout(this.#timer)
  }

  /** It is over: what is still open of it is closed. */
  end(): void {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#onAbort)
    this.#controller.abort()
  }

  failure(kind: RemoteFailure, more: { status?: number; retryAfter?: number | undefined; detail?: string } = {}) {
    return new RemoteError({ ...this.#subject, kind, ...more })
  }

  /** What an error of the transport comes from. */
  explain(error: unknown): unknown {
    if (error instanceof RemoteError) return error
    if (this.#controller.signal.reason === LATE) return this.failure('timeout')
    if (this.#outer?.aborted) return this.#outer.reason
    const cause = error instanceof Error ? (error.cause ?? error) : error
    return new RemoteError({ ...this.#subject, kind: 'network', cause })
  }

  /** The body as text. @throws RemoteError when it is longer than `maxBytes` */
  async textOf(response: Response, maxBytes: number): Promise<string> {
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength
      if (size > maxBytes) throw this.failure('shape', { detail: `answered more than ${maxBytes} bytes` })
      chunks.push(chunk)
    }
    return Buffer.concat(chunks).toString('utf8')
  }

  /** The body as it comes; the exchange is over when it ends, or when it is read no further. */
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
