import type { ChildProcess } from 'node:child_process'
import { appendFile, chown, cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import { locateBinaries, restoreLibraryLinks } from '../../src/embedded-postgres/binaries.ts'
import { chooseLauncher } from '../../src/embedded-postgres/privileges.ts'
import { runProgram } from '../../src/embedded-postgres/programs.ts'
import { migrateDatabase } from '../../src/wiring/migrations.ts'
import type { Scope } from './database.ts'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { type TcpProxy, tcpProxy } from './tcp-proxy.ts'

const PASSWORD = 'superuser-of-a-test'
const DATABASE = 'rhone'

/** One PostgreSQL of a pair. */
export interface PairNode {
  /** `127.0.0.1:port` of its proxy. */
  readonly address: string
  /** Through the proxy. */
  readonly url: string
  /** The proxy for clients; replication bypasses it. */
  readonly proxy: TcpProxy
  /** Runs a statement, bypassing the proxy. */
  ask<Row extends object>(statement: string): Promise<Row[]>
  /** Kills it with its backends, like `kill -9`. */
  kill(): Promise<void>
  /** Starts it with its existing files, and resolves once it answers. */
  start(): Promise<void>
  promote(): Promise<void>
}

export interface ReplicatedPair {
  readonly primary: PairNode
  readonly standby: PairNode
  /** Names both hosts, the primary first. */
  readonly url: string
  /** Resolves once the standby has replayed what the primary has written. */
  caughtUp(): Promise<void>
}

/** Two PostgreSQL servers with streaming replication; both end with the scope. */
export async function replicatedPair(scope: Scope, { migrated = false } = {}): Promise<ReplicatedPair> {
  const root = await mkdtemp(join(tmpdir(), 'rhone-pair-'))
  const [first, second] = [join(root, 'a'), join(root, 'b')]
  const binaries = await locateBinaries()
  await restoreLibraryLinks(binaries)
  const launcher = await chooseLauncher(binaries, tmpdir(), first)
  const { uid, gid } = launcher.account
  await chown(root, uid, gid)
  const nodes: Node[] = []
  scope.after(async () => {
    await Promise.all(nodes.map(node => node.end()))
    await rm(root, { recursive: true, force: true })
  })

  const secret = join(root, 'superuser')
  await writeFile(secret, PASSWORD)
  const initdb = [binaries.initdb, '-D', first, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${secret}`, '-N']
  const { ok, output } = await runProgram(() => launcher.spawn([...initdb, '--encoding=UTF8', '--locale=C'], {}))
  if (!ok) throw new Error(output)

  const spawn = (data: string, port: number) => {
    const settings = {
      port,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: root,
      fsync: 'off',
      max_connections: 60,
      shared_buffers: '32MB',
      wal_retrieve_retry_interval: '100ms',
      wal_receiver_status_interval: '1s'
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    return launcher.spawn([binaries.postgres, '-D', data, ...flags], { stdio: 'ignore' })
  }

  const primary = await Node.open(scope, await freePort(), port => spawn(first, port))
  nodes.push(primary)
  await primary.start()
  await primary.ask(`create database ${DATABASE}`, 'postgres')
  if (migrated) await migrateDatabase(primary.directUrl)
  await primary.ask('checkpoint')
  await primary.end()

  // Nothing writes to it now: a plain copy is a base backup.
  await cp(first, second, { recursive: true })
  const conninfo = `host=127.0.0.1 port=${primary.port} user=postgres password=${PASSWORD}`
  await appendFile(join(second, 'postgresql.auto.conf'), `primary_conninfo = '${conninfo}'\n`)
  await writeFile(join(second, 'standby.signal'), '')
  for (const entry of ['', ...(await readdir(second, { recursive: true }))]) await chown(join(second, entry), uid, gid)

  const standby = await Node.open(scope, await freePort(), port => spawn(second, port))
  nodes.push(standby)
  await Promise.all([primary.start(), standby.start()])
  const pair: ReplicatedPair = {
    primary,
    standby,
    url: `postgres://postgres:${PASSWORD}@${primary.address},${standby.address}/${DATABASE}`,
    async caughtUp() {
      const [{ lsn } = { lsn: '' }] = await primary.ask<{ lsn: string }>(
        'select pg_current_wal_flush_lsn()::text as lsn'
      )
      await eventually(async () => {
        const [row] = await standby.ask<{ done: boolean }>(`select pg_last_wal_replay_lsn() >= '${lsn}' as done`)
        return row?.done
      })
    }
  }
  await pair.caughtUp()
  return pair
}

class Node implements PairNode {
  readonly port: number
  readonly proxy: TcpProxy
  readonly #spawn: () => ChildProcess
  #server: ChildProcess | undefined

  private constructor(port: number, proxy: TcpProxy, spawn: () => ChildProcess) {
    this.port = port
    this.proxy = proxy
    this.#spawn = spawn
  }

  static async open(scope: Scope, port: number, spawn: (port: number) => ChildProcess): Promise<Node> {
    const proxy = await tcpProxy(scope, urlOf(port, DATABASE))
    return new Node(port, proxy, () => spawn(port))
  }

  get directUrl(): string {
    return urlOf(this.port, DATABASE)
  }

  get address(): string {
    return new URL(this.url).host
  }

  get url(): string {
    return this.proxy.url
  }

  async start(): Promise<void> {
    await eventually(async () => {
      if (this.#server === undefined || this.#server.exitCode !== null) this.#server = this.#spawn()
      return this.ask('select 1', 'postgres').then(
        () => true,
        () => false
      )
    })
  }

  async ask<Row extends object>(statement: string, database = DATABASE): Promise<Row[]> {
    const sql: Sql = postgres(urlOf(this.port, database), {
      max: 1,
      connect_timeout: 2,
      backoff: false,
      fetch_types: false,
      onnotice: () => {}
    })
    try {
      return [...(await sql.unsafe(statement))] as unknown as Row[]
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  kill(): Promise<void> {
    return this.#signal('SIGKILL')
  }

  end(): Promise<void> {
    return this.#signal('SIGINT')
  }

  async promote(): Promise<void> {
    await this.ask('select pg_promote(true, 60)')
  }

  async #signal(signal: NodeJS.Signals): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const ended = new Promise(done => server.once('exit', done))
    server.kill(signal)
    await ended
  }
}

function urlOf(port: number, database: string): string {
  return `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/${database}`
}
