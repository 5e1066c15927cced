import type { PostgresTarget } from '../lib/postgres.ts'
import { type ConnectionSettings, PgConnection } from './connection.ts'

/** Opens connections with the settings that the path to the database supports, as learned from earlier connections. */
export class Connector {
  readonly #onPooler: (isPrepared: boolean) => void
  readonly #locate: (() => Promise<PostgresTarget>) | undefined
  #settings: ConnectionSettings
  #hasPooler = false

  /**
   * @param onPooler called when a pooler is found, and when it turns out to lose prepared statements
   * @param locate where each connection goes, if not to the target of the settings
   */
  constructor(
    settings: ConnectionSettings,
    onPooler: (isPrepared: boolean) => void,
    locate?: () => Promise<PostgresTarget>
  ) {
    this.#settings = settings
    this.#onPooler = onPooler
    this.#locate = locate
  }

  async open(onClose: (connection: PgConnection) => void): Promise<PgConnection> {
    const connection = await this.#dial(onClose)
    if (connection.isPooled && !this.#hasPooler) {
      this.#hasPooler = true
      this.#onPooler(this.#settings.prepare === true)
    }
    return connection
  }

  /** Connections from now on go to this target. */
  retarget(target: PostgresTarget): void {
    this.#settings = { ...this.#settings, target }
  }

  /** @returns whether new connections will differ from earlier ones */
  stopPreparing(): boolean {
    if (this.#settings.prepare === false) return false
    this.#settings = { ...this.#settings, prepare: false }
    this.#onPooler(false)
    return true
  }

  async #dial(onClose: (connection: PgConnection) => void): Promise<PgConnection> {
    if (this.#locate !== undefined) this.#settings = { ...this.#settings, target: await this.#locate() }
    try {
      return await PgConnection.open(this.#settings, onClose)
    } catch (reason) {
      // Poolers such as PgBouncer do not pass parameters on. The limits of the role apply instead.
      if (!refusesParameters(reason) || this.#settings.parameters === undefined) throw reason
      this.#settings = { ...this.#settings, parameters: undefined }
      return PgConnection.open(this.#settings, onClose)
    }
  }
}

const refusesParameters = (reason: unknown): boolean =>
  reason instanceof Error && /unsupported startup parameter/.test(reason.message)
