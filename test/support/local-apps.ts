import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { LocalDeployer, type LocalOptions } from '../../integrations/deployer/local/index.ts'
import type { DeployedApp, Release, RuntimeLine } from '../../integrations/deployer/port.ts'
import { eventually } from './eventually.ts'

export interface LocalMachine {
  readonly dataDir: string
  readonly deployer: LocalDeployer
  /** Another server on the same DATA_DIR. */
  another(options?: Partial<LocalOptions>): LocalDeployer
  /** A release of an app whose whole code is `source`: what runs after `const http = require('node:http')`. */
  release(app: DeployedApp, source: string, env?: Record<string, string>): Promise<Release>
  /** Starts and serves a release. */
  deploy(release: Release): Promise<Release>
  get(app: DeployedApp, path?: string, options?: RequestOptions & { body?: string }): Promise<Reply>
  /** The pid of the runner. */
  runner(): Promise<number>
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A private machine for one test. Afterwards nothing may run on it, which is checked. */
export async function localMachine(t: TestContext, options: Partial<LocalOptions> = {}): Promise<LocalMachine> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-apps-'))
  // Apps run as other users, and must be able to enter it.
  await chmod(dataDir, 0o711)
  const another = (more: Partial<LocalOptions> = {}) =>
    new LocalDeployer({ dataDir, port: 0, stopGrace: 2_000, ...options, ...more })
  const deployer = another()
  t.after(async () => {
    await deployer.stop(never).catch(() => false)
    await eventually(
      () => processesOf(dataDir),
      found => found.length === 0,
      20_000
    )
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
  })

  const machine: LocalMachine = {
    dataDir,
    deployer,
    another,
    async release(app, source, env = {}) {
      const image = await makeImage(dataDir, app.id, `const http = require('node:http')\n${source}`)
      return { deploymentId: randomUUID(), app, image, region: 'ams', env }
    },
    async deploy(release) {
      await deployer.start(release, context())
      await deployer.serve(release, context())
      return release
    },
    get: (app, path = '/', options = {}) => get(deployer.urlOf(app), path, options),
    runner: async () => Number(await readFile(join(dataDir, 'apps/runner.pid'), 'utf8'))
  }
  return machine
}

export const never = new AbortController().signal

export const context = (signal: AbortSignal = never) => ({ signal, say: () => {}, named: async () => {} })

export function newApp(slug = `app-${randomBytes(4).toString('hex')}`): DeployedApp {
  return { id: randomUUID(), slug, flyAppId: null }
}

/** A server that answers everything with this text. */
export const answering = (text: string) =>
  `http.createServer((q, s) => s.end(${JSON.stringify(text)})).listen(process.env.PORT, '127.0.0.1')`

export async function makeImage(dataDir: string, appId: string, source: string): Promise<string> {
  const digest = randomBytes(32).toString('hex')
  const directory = join(dataDir, 'images', appId, digest)
  await mkdir(join(directory, 'app'), { recursive: true })
  await writeFile(join(directory, 'app/server.cjs'), source)
  await writeFile(join(directory, 'rhone-image.json'), JSON.stringify({ command: ['node', 'server.cjs'] }))
  return `local:sha256:${digest}`
}

/** Requests an app by its host name, independent of the resolver. */
export function get(
  url: string,
  path: string,
  { body, headers, ...options }: RequestOptions & { body?: string } = {}
): Promise<Reply> {
  const { port, host } = new URL(url)
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const asked = request({ agent: false, ...options, host: '127.0.0.1', port, path, headers: { host, ...headers } })
  asked.on('error', reject)
  asked.on('response', reply => {
    let text = ''
    reply.setEncoding('utf8').on('data', chunk => {
      text += chunk
    })
    reply.on('error', reject)
    reply.on('end', () => resolve({ status: reply.statusCode!, headers: reply.headers, body: text }))
  })
  asked.end(body)
  return promise
}

/** The processes of the runner and of the apps of a DATA_DIR: those that name it, or run below it. */
export function processesOf(dataDir: string): string[] {
  assert.equal(process.platform, 'linux')
  return readdirSync('/proc')
    .filter(pid => Number.isInteger(Number(pid)) && Number(pid) !== process.pid)
    .flatMap(pid => {
      const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')
      const isOurs = command.includes(dataDir) || `\0${read(`/proc/${pid}/environ`)}`.includes(`\0HOME=${dataDir}`)
      const isOver = /\) [ZX] /.test(read(`/proc/${pid}/stat`))
      return isOurs && !isOver ? [`${pid} ${command}`] : []
    })
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** The log of an app from `since` until a matching line. */
export async function linesUntil({ deployer }: LocalMachine, app: DeployedApp, last: RegExp, since: Date | null) {
  const lines: RuntimeLine[] = []
  let dropped = 0
  for await (const entry of deployer.logs(app, since, AbortSignal.timeout(90_000))) {
    if ('dropped' in entry) dropped += entry.dropped
    else lines.push(entry)
    if ('message' in entry && last.test(entry.message)) return { lines, dropped }
  }
  throw new Error(`no line matches ${last}: ${lines.map(line => line.message).join(' | ')}`)
}
