import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import postgres, { type Sql } from 'postgres'
import { APP_LABEL, DEPLOYMENT_LABEL } from '../../integrations/deployer/fly/machine-config.ts'
import type { Operation } from '../fakes/fly/faults.ts'
import type { FakeMachine } from '../fakes/fly/machine.ts'
import { type FakeFly, startFakeFly } from '../fakes/fly/server.ts'
import { SECOND } from '../fixtures/swaps/quick-fly.ts'
import { freshDatabase } from './database.ts'
import { type RunningServer, startServer } from './process.ts'

/** Statuses of active deployments. */
export const ACTIVE = ['pending', 'cloning', 'analyzing', 'building', 'pushing', 'built', 'deploying']
const QUICK_FLY = 'deployer=./test/fixtures/swaps/quick-fly.ts'
const QUICK_JOBS = 'jobs=./test/fixtures/swaps/quick-jobs.ts'
const IDLE_JOBS = 'jobs=./test/fixtures/swaps/idle-jobs.ts'

/** The image of a version named by a text; it exists in no registry. */
export function imageOf(version: string): string {
  return `registry.example/app@sha256:${createHash('sha256').update(version).digest('hex')}`
}

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
  readonly body: any
}

/** A database, a Fly fake that can fail, and deploying servers as processes that can be killed. */
export class FlyPlatform {
  readonly fly: FakeFly
  readonly sql: Sql
  readonly #t: TestContext
  readonly #env: Record<string, string>
  #onCall: (operation: Operation) => void = () => {}
  #token = ''

  private constructor(t: TestContext, fly: FakeFly, sql: Sql, env: Record<string, string>) {
    this.fly = fly
    this.sql = sql
    this.#t = t
    this.#env = env
    const next = fly.faults.next.bind(fly.faults)
    fly.faults.next = operation => {
      this.#onCall(operation)
      return next(operation)
    }
  }

  static async create(t: TestContext): Promise<FlyPlatform> {
    const fly = await startFakeFly({ second: SECOND })
    t.after(() => fly.close())
    fly.world.propagation = 8
    const dataDir = await mkdtemp(join(tmpdir(), 'rhone-crashes-'))
    t.after(() => rm(dataDir, { recursive: true, force: true }))
    const url = await freshDatabase(t)
    const sql = postgres(url, { max: 2, onnotice: () => {} })
    t.after(() => sql.end({ timeout: 1 }))
    return new FlyPlatform(t, fly, sql, {
      DATABASE_URL: url,
      DATA_DIR: dataDir,
      DEPLOYER: 'fly',
      BUILDER: 'image',
      FLY_API_TOKEN: fly.token,
      FLY_ORG: fly.organization,
      FLY_API_URL: fly.url,
      FLY_GRAPHQL_URL: `${fly.url}/graphql`,
      RATE_LIMIT_DEPLOY: '1000/s:1000'
    })
  }

  /** A server that immediately continues the work of a killed one. */
  start(): Promise<RunningServer> {
    return this.#start([QUICK_FLY, QUICK_JOBS])
  }

  /** A server that only handles requests. */
  startIdle(): Promise<RunningServer> {
    return this.#start([QUICK_FLY, IDLE_JOBS])
  }

  /** A server with production timeouts that logs the outcome of its jobs. */
  startPatient(): Promise<RunningServer> {
    return this.#start([QUICK_FLY], { LOG_LEVEL: 'debug' })
  }

  async #start(swaps: string[], env: Record<string, string> = {}): Promise<RunningServer> {
    const server = await startServer(this.#t, { ...this.#env, ...env, RHONE_SWAP: ['pressure=off', ...swaps].join() })
    this.#token ||= server.token
    return server
  }

  async ask({ url }: RunningServer, method: string, path: string, body?: object): Promise<Answer> {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) })
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  }

  /** Calls back once, before Fly performs the next call of this kind. */
  onNext(operation: Operation, work: () => void): void {
    this.#onCall = called => {
      if (called !== operation) return
      this.#onCall = () => {}
      work()
    }
  }

  /** All existing machines of all existing apps at Fly. */
  machines(): FakeMachine[] {
    return this.fly.world.apps().flatMap(({ machines }) => machines.filter(({ state }) => state !== 'destroyed'))
  }

  /** The machine that answers a request to an app; null: none does. */
  answering(appId: string): FakeMachine | null {
    const app = this.fly.world
      .apps()
      .find(({ machines }) => machines.some(({ config }) => config.metadata?.[APP_LABEL] === appId))
    return app === undefined ? null : this.fly.world.route(app.name)
  }
}

export const deploymentOf = ({ config }: FakeMachine): string => config.metadata![DEPLOYMENT_LABEL]!

/** Kills a server like a power cut. */
export async function killServer({ child, exited }: RunningServer): Promise<void> {
  child.kill('SIGKILL')
  await exited
}
