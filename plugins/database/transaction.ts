import type { ExclusiveConnection, TransactionRunner } from './port.ts'
import { isSelection } from './statement-kind.ts'

/** A transaction on a connection reserved for it. */
export class Transaction implements TransactionRunner {
  readonly #connection: ExclusiveConnection
  #beginning: Promise<unknown> | undefined
  #endsWithNext = false
  #committing: Promise<unknown> | undefined
  #savepoints = 0

  constructor(connection: ExclusiveConnection) {
    this.#connection = connection
  }

  async run<T>(body: (transaction: TransactionRunner) => Promise<T>): Promise<T> {
    try {
      const result = await body(this)
      await this.#commit()
      return result
    } catch (error) {
      await this.#rollBack()
      throw error
    }
  }

  /**
   * Sends BEGIN together with the first statement if that changes nothing: if BEGIN failed, a change could not be
   * rolled back. A lock would end with the statement.
   */
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    if (this.#beginning !== undefined) return this.#after(this.#beginning, text, parameters, asArrays)
    this.#beginning = this.#connection.command('begin')
    this.#beginning.catch(() => {})
    if (!isSelection(text)) return this.#after(this.#beginning, text, parameters, asArrays)
    const first = this.#send(text, parameters, asArrays)
    first.catch(() => {})
    return this.#beginning.then(() => first)
  }

  commitWithNext(): void {
    this.#endsWithNext = true
  }

  async savepoint<T>(body: (inner: TransactionRunner) => Promise<T>): Promise<T> {
    const name = `s${++this.#savepoints}`
    await this.query(`savepoint ${name}`, [], false)
    try {
      return await body(this)
    } catch (error) {
      await this.query(`rollback to ${name}`, [], false)
      throw error
    }
  }

  async #after(beginning: Promise<unknown>, text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    await beginning
    return this.#send(text, parameters, asArrays)
  }

  #send(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    if (this.#committing !== undefined) return Promise.reject(new Error('the transaction has already ended'))
    const result = this.#connection.query(text, parameters, asArrays)
    if (this.#endsWithNext) {
      this.#committing = this.#connection.command('commit')
      this.#committing.catch(() => {})
    }
    return result
  }

  async #commit(): Promise<void> {
    if (this.#beginning === undefined) return
    await this.#beginning
    const { command } = (await (this.#committing ?? this.#connection.command('commit'))) as {
      command?: string
    }
    // PostgreSQL answers COMMIT with ROLLBACK if a statement has failed, even if its error was caught.
    if (command === 'ROLLBACK') throw new Error('the transaction was rolled back because one of its statements failed')
  }

  async #rollBack(): Promise<void> {
    if (this.#beginning === undefined || this.#connection.closed) return
    // After a failed statement, COMMIT rolls everything back by itself.
    if (this.#committing !== undefined) {
      await this.#committing.catch(() => this.#connection.destroy())
      return
    }
    await this.#connection.command('rollback').catch(() => this.#connection.destroy())
  }
}
