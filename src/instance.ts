import type { Server } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { buildApp } from './app.ts'
import type { Config, SecretFeed } from './config/index.ts'
import { liveConfig } from './config/live.ts'
import type { Ports } from './wiring/ports.ts'
import { recordCertificate, secureContextOf } from './wiring/tls.ts'

/** What the process edge starts and stops: one app, or several that act as one. */
export interface Service {
  /** The listening address, once `start` has resolved. */
  readonly port: number
  /** Resolves once it listens, unless the signal prevents that; `completed` settles later, once it serves. */
  start(signal: AbortSignal): Promise<void>
  readonly completed: Promise<void>
  /** Drains and closes; rejects if either fails. */
  stop(): Promise<void>
  reloadCertificate(): void
  /** Reports an error that ends the process, if possible; `stop` delivers the report. */
  report?(error: unknown): void
}

/** One app on this thread's event loop. */
export class Instance implements Service {
  readonly #config: Config
  readonly #logger: Logger
  readonly #ports: Ports
  readonly #completed = Promise.withResolvers<void>()
  #app: FastifyInstance | undefined

  /** @param feed the source of changed secrets; without it, they never change */
  constructor(config: Config, logger: Logger, ports: Ports = {}, feed?: SecretFeed) {
    const live = liveConfig(config)
    this.#config = live.config
    this.#logger = logger
    this.#ports = feed === undefined ? ports : { ...ports, secrets: { feed, live } }
    this.completed.catch(() => {}) // callers that wait get the error; otherwise `start` has already failed
  }

  get completed(): Promise<void> {
    return this.#completed.promise
  }

  get port(): number {
    const address = this.#app?.server.address()
    return typeof address === 'object' && address !== null ? address.port : this.#config.port
  }

  /** @param reusePort whether other sockets of this process listen on the same port */
  async start(signal?: AbortSignal, reusePort = false): Promise<void> {
    const { host, port } = this.#config
    this.#app = await buildApp(this.#config, {}, this.#logger, this.#ports)
    if (this.#config.tls !== null) recordCertificate(this.#app, secureContextOf(this.#config.tls))
    await this.#app.ready()
    signal?.throwIfAborted()
    await this.#app.listen({ host, port, ...(reusePort && { reusePort }) })
    this.#app.startup?.completed.then(this.#completed.resolve, this.#completed.reject)
  }

  async stop(): Promise<void> {
    if (this.#app?.server.listening) await this.#app.drain?.start()
    await this.#app?.close()
  }

  report(error: unknown): void {
    this.#app?.errorTracking?.capture({ error, level: 'fatal' })
  }

  reloadCertificate(): void {
    if (this.#config.tls === null) return
    try {
      const context = secureContextOf(this.#config.tls)
      const server = this.#app?.server as unknown as Server | undefined
      server?.setSecureContext(context)
      if (this.#app) recordCertificate(this.#app, context)
      this.#logger.info('certificate reloaded')
    } catch (error) {
      this.#logger.error({ err: error }, 'the new certificate cannot be used; the old one stays in use')
    }
  }
}
