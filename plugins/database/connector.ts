import { Connection, type ConnectionSettings } from './connection.ts'

/** Opens connections as what stands before the database allows, which it learns from those that it has opened. */
export class Connector {
  readonly #onPooler: (isPrepared: boolean) => void
  #settings: ConnectionSettings
  #hasPooler = false

  /** @param onPooler called when a pooler is found, and when it turns out to lose prepared statements */
  constructor(settings: ConnectionSettings, onPooler: (isPrepared: boolean) => void) {
    this.#settings = settings
    this.#onPooler = onPooler
  }

  async open(onClose: (connection: Connection) => void): Promise<Connection> {
    const connection = await this.#dial(onClose)
    if (connection.isPooled && !this.#hasPooler) {
      this.#hasPooler = true
      this.#onPooler(this.#settings.prepare === true)
    }
    return connection
  }

  /** @returns whether the next connections differ from those before */
  stopPreparing(): boolean {
    if (this.#settings.prepare === false) return false
    this.#settings = { ...this.#settings, prepare: false }
    this.#onPooler(false)
    return true
  }

  async #dial(onClose: (connection: Connection) => void): Promise<Connection> {
    try {
      return await Connection.open(this.#settings, onClose)
    } catch (reason) {
      // A pooler such as PgBouncer passes no parameters on. The limits of the role hold then.
      if (!refusesParameters(reason) || this.#settings.parameters === undefined) throw reason
      this.#settings = { ...this.#settings, parameters: undefined }
      return Connection.open(this.#settings, onClose)
    }
  }
}

const refusesParameters = (reason: unknown): boolean =>
  reason instanceof Error && /unsupported startup parameter/.test(reason.message)
