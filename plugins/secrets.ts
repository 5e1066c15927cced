import { createHash } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { gauge } from './lib/metrics.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import type { Registry } from './lib/registry.ts'

export const SecretsOptions = Type.Object(
  {
    interval: Type.Integer({
      default: 30_000,
      minimum: 10,
      description: 'Milliseconds between reads of the source, in addition to those it triggers.'
    }),
    settle: Type.Integer({
      default: 100,
      minimum: 0,
      description: 'Milliseconds to wait after the source reports a change, since changes come in bursts.'
    })
  },
  { additionalProperties: false }
)
export type SecretsOptions = Static<typeof SecretsOptions>

/** Secrets by name. */
export type SecretValues = ReadonlyMap<string, string>

export interface SecretsDeps {
  registry?: Registry
  /** Reads all secrets; rejects if the source cannot be read. Without it, nothing is read and nothing changes. */
  load?: () => Promise<SecretValues>
  /** The values in use at the start; default: the first result of `load`. */
  initial?: SecretValues
  /** Subscribes to changes of the source. @returns a function that unsubscribes */
  watch?: (onChange: () => void) => () => void
  /**
   * Puts a changed set into use. If the set is unusable, rejects without changing anything, and the previous set stays.
   */
  take?: (values: SecretValues, changed: readonly string[]) => Promise<void>
  /** Called once for each refused set. */
  onRefused?: (changed: readonly string[], reason: Error) => void | Promise<void>
  /** Called after the last read, to release what the source has lent. */
  close?: () => Promise<void>
}

export interface Secrets {
  /** Reads the source now. Resolves when its values are in use or have been refused; never rejects. */
  refresh(): Promise<void>
}

declare module 'fastify' {
  interface FastifyInstance {
    secrets: Secrets
  }
}

/**
 * Follows a source of secrets while the server runs. If the source is unreachable or holds something unusable, the
 * values in use stay in use: the process neither exits nor writes secrets anywhere.
 */
const secrets: FastifyPluginAsync<PluginInput<typeof SecretsOptions, SecretsDeps>> = async (app, input) => {
  const deps = ['registry', 'load', 'initial', 'watch', 'take', 'onRefused', 'close']
  const { interval, settle } = parseOptions('rhone-secrets', SecretsOptions, input, deps)
  const { load, take, onRefused } = input
  let inUse = input.initial
  let refused: string | undefined
  let isAway = false
  let readAt = performance.now()
  let looking: Promise<void> | undefined
  let isClosing = false
  let timer: NodeJS.Timeout | undefined

  gauge(input.registry, {
    name: 'rhone_secrets_source_age_seconds',
    help: 'Time since the source of secrets was last read.',
    aggregator: 'max',
    collect() {
      this.set((performance.now() - readAt) / 1_000)
    }
  })

  async function look(read: NonNullable<SecretsDeps['load']>): Promise<void> {
    const found = await read().catch(onAway)
    if (found === undefined) return
    readAt = performance.now()
    if (isAway) app.log.info('the source of secrets is readable again')
    isAway = false
    if (inUse === undefined) inUse = found
    const changed = differences(inUse, found)
    if (changed.length > 0) await adopt(found, changed)
  }

  function onAway(err: unknown): undefined {
    // One line per outage; the gauge shows how long it lasts.
    if (!isAway && !isClosing)
      app.log.error({ err }, 'the source of secrets cannot be read; current values stay in use')
    isAway = true
  }

  async function adopt(found: SecretValues, changed: readonly string[]): Promise<void> {
    try {
      await take?.(found, changed)
      inUse = found
      refused = undefined
      app.log.info({ changed }, 'changed secrets are in use')
    } catch (error) {
      const version = digestOf(found)
      // Retried on every read, since the reason may pass; reported once.
      if (refused === version) return
      refused = version
      app.log.error({ err: error, changed }, 'changed secrets are invalid; current values stay in use')
      await Promise.resolve(onRefused?.(changed, error as Error)).catch((err: unknown) =>
        app.log.error({ err }, 'the rejection of secrets could not be recorded')
      )
    }
  }

  /** One read at a time. Calls during a read get the next one, which begins after them. */
  async function refresh(): Promise<void> {
    if (load === undefined) return
    const before = looking
    if (before !== undefined) {
      await before
      if (looking !== undefined) return looking
    }
    if (isClosing) return
    looking = look(load).finally(() => {
      looking = undefined
    })
    return looking
  }

  function schedule(pause: number): void {
    clearTimeout(timer)
    if (isClosing) return
    timer = setTimeout(async () => {
      await refresh()
      schedule(interval)
    }, pause).unref()
  }

  app.decorate('secrets', { refresh })
  if (load === undefined) return
  let unwatch: (() => void) | undefined
  app.addHook('onReady', async () => {
    unwatch = input.watch?.(() => schedule(settle))
    schedule(interval)
  })
  app.addHook('onClose', async () => {
    isClosing = true
    clearTimeout(timer)
    unwatch?.()
    await looking
    await input.close?.()
  })
}

/** The names whose values differ. */
function differences(before: SecretValues, after: SecretValues): string[] {
  const names = new Set([...before.keys(), ...after.keys()])
  return [...names].filter(name => before.get(name) !== after.get(name)).sort()
}

/** Identifies a set without keeping it. */
function digestOf(values: SecretValues): string {
  const sorted = [...values].sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex')
}

export default fp(secrets, { name: 'rhone-secrets', fastify: '5.x' })
