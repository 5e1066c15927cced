import { randomInt } from 'node:crypto'
import { Type } from '@sinclair/typebox'
import type { Remote } from '../../../plugins/lib/remote.ts'
import type { DeployedApp, RolloutContext } from '../port.ts'
import type { MachinesApi } from './api.ts'
import { converge, type RetryPace } from './converge.ts'

/** Prefix of all our app names at Fly. */
export const PREFIX = 'rhone-'
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789'
/** Fly limits names to 63 characters: these, a dash, and six random ones. */
const LONGEST = 55
/** One collision is improbable; two in a row are no coincidence. */
const DRAWS = 3

export function drawName(slug: string): string {
  const random = Array.from({ length: 6 }, () => LETTERS[randomInt(LETTERS.length)]).join('')
  return `${`${PREFIX}${slug}`.slice(0, LONGEST).replace(/-+$/, '')}-${random}`
}

const Addresses = Type.Object({
  data: Type.Object({
    app: Type.Object({
      ipAddresses: Type.Object({ nodes: Type.Array(Type.Object({ type: Type.String() })) }),
      sharedIpAddress: Type.Optional(Type.Union([Type.String(), Type.Null()]))
    })
  })
})
const Allocated = Type.Object({ data: Type.Object({ allocateIpAddress: Type.Object({}) }) })

const ADDRESSES = `query ($name: String!) {
  app(name: $name) { ipAddresses { nodes { type } } sharedIpAddress }
}`
const ALLOCATE = `mutation ($input: AllocateIPAddressInput!) {
  allocateIpAddress(input: $input) { app { sharedIpAddress } }
}`

/** Creates apps at Fly, with a name and addresses. */
export class FlyApps {
  readonly #api: MachinesApi
  readonly #graphql: Remote
  readonly #graphqlPath: string
  readonly #patience: RetryPace
  /** Names assigned since the caller read the app. */
  readonly #named = new WeakMap<DeployedApp, string>()

  constructor(api: MachinesApi, graphql: Remote, graphqlPath: string, patience: RetryPace) {
    this.#api = api
    this.#graphql = graphql
    this.#graphqlPath = graphqlPath
    this.#patience = patience
  }

  nameOf(app: DeployedApp): string | null {
    return this.#named.get(app) ?? app.flyAppId
  }

  /** Creates the app where it is missing. @returns its name; from now on it is publicly reachable */
  async ensure(app: DeployedApp, context: RolloutContext): Promise<string> {
    for (let draw = 1; draw <= DRAWS; draw++) {
      const name = this.nameOf(app) ?? (await this.#give(app, context))
      if (await this.#isOurs(name, context.signal)) {
        await this.#ensureAddresses(name, context.signal)
        return name
      }
      // The name was stored but the app never created, and the name has been taken meanwhile.
      await this.#give(app, context)
    }
    throw new Error('fly: all generated names for an app are taken')
  }

  /** Stores the name before anything is created under it, so that a retry after a crash finds what exists. */
  async #give(app: DeployedApp, context: RolloutContext): Promise<string> {
    const name = drawName(app.slug)
    await context.named(name)
    this.#named.set(app, name)
    return name
  }

  /** Creates the app if it is missing. @returns false when it belongs to another organization */
  #isOurs(name: string, signal: AbortSignal): Promise<boolean> {
    let isMade = false
    let isTaken = false
    return converge(this.#patience, signal, async () => {
      const owner = await this.#api.owner(name, signal)
      if (owner === 'us') return true
      // A new app may be inaccessible to us for a moment.
      if (owner === 'others' && isMade) return undefined
      if (owner === 'others' && isTaken) return false
      if (await this.#api.createApp(name, signal)) isMade = true
      else isTaken = true
      return undefined
    })
  }

  async #ensureAddresses(name: string, signal: AbortSignal): Promise<void> {
    await converge(this.#patience, signal, async () => {
      const missing = await this.#missingAddresses(name, signal)
      for (const type of missing) await this.#allocate(name, type, signal)
      return missing.length === 0 ? true : undefined
    })
  }

  async #missingAddresses(name: string, signal: AbortSignal): Promise<string[]> {
    const { body } = await this.#graphql.call({
      operation: 'get_addresses',
      method: 'POST',
      path: this.#graphqlPath,
      body: { query: ADDRESSES, variables: { name } },
      schema: Addresses,
      idempotent: true,
      signal
    })
    const { ipAddresses, sharedIpAddress } = body.data.app
    const types = ipAddresses.nodes.map(({ type }) => type)
    const hasV4 = sharedIpAddress != null || types.includes('v4') || types.includes('shared_v4')
    return [...(hasV4 ? [] : ['shared_v4']), ...(types.includes('v6') ? [] : ['v6'])]
  }

  async #allocate(name: string, type: string, signal: AbortSignal): Promise<void> {
    await this.#graphql.call({
      operation: 'allocate_address',
      method: 'POST',
      path: this.#graphqlPath,
      body: { query: ALLOCATE, variables: { input: { appId: name, type } } },
      schema: Allocated,
      signal
    })
  }
}
