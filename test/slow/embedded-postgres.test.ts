import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, type TestContext, test } from 'node:test'
import postgres from 'postgres'
import { commandLine, identify, isRunning, waitForExit } from '../../plugins/lib/processes.ts'
import { binariesIn, locateBinaries } from '../../src/embedded-postgres/binaries.ts'
import {
  type EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresOptions,
  findEmbeddedPostgres,
  startEmbeddedPostgres
} from '../../src/embedded-postgres/index.ts'
import { acquireOwnerLock } from '../../src/embedded-postgres/owner-lock.ts'
import { runProgram, spawnProgram } from '../../src/embedded-postgres/programs.ts'
import { eventually } from '../support/eventually.ts'

const silent = { info() {}, warn() {}, error() {} }
const installed = await locateBinaries()
const deferred = new WeakMap<TestContext, (() => unknown)[]>()
const earlier = mkdtempSync(join(tmpdir(), 'rhone-embedded-'))

const AS_ROOT = process.geteuid!() === 0
const ONLY_ROOT = AS_ROOT ? false : 'needs root: only root has to give up its identity'
const ONLY_LINUX = process.platform === 'linux' ? false : 'needs the /proc of Linux'
const ONLY_LINUX_ROOT = ONLY_LINUX || ONLY_ROOT

before(async () => {
  chmodSync(earlier, 0o711)
  const server = await startEmbeddedPostgres({ dataDir: earlier, log: silent, durable: false })
  await server.stop()
})

after(() => rmSync(earlier, { recursive: true }))

test('the first start makes a UTF-8 database with checksums that only its password opens', async t => {
  const dataDir = freshDirectory(t)
  const { url } = await start(t, { dataDir })
  const sql = connect(t, url)
  const [facts] = await sql`
    SELECT current_setting('data_checksums') AS checksums, current_setting('server_encoding') AS encoding,
      current_setting('TimeZone') AS timezone, current_setting('listen_addresses') AS addresses,
      current_setting('is_superuser') AS superuser, lower('ÄÖ') AS lowered`
  assert.deepEqual(
    { ...facts },
    {
      checksums: 'on',
      encoding: 'UTF8',
      timezone: 'UTC',
      addresses: '',
      superuser: 'off',
      lowered: 'äö'
    }
  )
  assert.equal(statSync(join(dataDir, 'password')).mode & 0o777, 0o600)
  const password = new URL(url).password
  const impostor = connect(t, url.replace(password, 'f'.repeat(password.length)))
  await assert.rejects(impostor`SELECT 1`, { code: '28P01' })
  const superuser = connect(t, url.replace('rhone:', 'postgres:'))
  await assert.rejects(superuser`SELECT 1`, { code: '28000' })
})

test('committed data survives a restart, and stopping twice is harmless', async t => {
  const dataDir = clusterDirectory(t)
  const first = await start(t, { dataDir })
  await connect(t, first.url)`CREATE TABLE kept AS SELECT 42 AS answer`
  const postmaster = identify(postmasterPid(dataDir))!
  await Promise.all([first.stop(), first.stop()])
  assert.equal(isRunning(postmaster), false)
  const second = await start(t, { dataDir })
  assert.equal(second.url, first.url)
  assert.deepEqual([...(await connect(t, second.url)`SELECT answer FROM kept`)], [{ answer: 42 }])
})

test('a second owner is refused with the directory and pid; a visitor is not refused', async t => {
  const dataDir = clusterDirectory(t)
  assert.equal(await findEmbeddedPostgres(dataDir), null)
  assert.equal(await findEmbeddedPostgres(join(dataDir, 'nowhere')), null)
  const server = await spawnServer(t, dataDir)
  await assert.rejects(
    startEmbeddedPostgres({ dataDir, log: silent }),
    (error: Error) =>
      error instanceof EmbeddedPostgresError &&
      error.message.includes(`${dataDir} is in use by another server (pid ${server.process.pid})`)
  )
  assert.equal(await findEmbeddedPostgres(dataDir), server.url)
  server.process.kill('SIGTERM')
  await once(server.process, 'exit')
  assert.equal(await findEmbeddedPostgres(dataDir), null)
})

test('of many concurrent claims to a directory, one succeeds', async t => {
  const directory = freshDirectory(t)
  mkdirSync(directory)
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => acquireOwnerLock(directory)))
  const locks = outcomes.filter(outcome => outcome.status === 'fulfilled')
  assert.equal(locks.length, 1)
  locks[0]!.value.release()
  const next = await acquireOwnerLock(directory)
  next.release()
})

test('a process with a reused pid is told apart from the earlier one', { skip: ONLY_LINUX }, () => {
  assert.equal(isRunning(identify(process.pid)!), true)
  assert.equal(isRunning({ pid: process.pid, startedAt: 'an earlier boot/1' }), false)
})

test('a database that was moved while its PostgreSQL runs is not started twice', { skip: ONLY_LINUX }, async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  const orphan = postmasterPid(dataDir)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  const moved = `${dataDir}-moved`
  renameSync(dataDir, moved)
  const { url } = await start(t, { dataDir: moved })
  assert.equal(identify(orphan), null)
  assert.equal((await connect(t, url)`SELECT 1`).length, 1)
})

test('after a kill -9 of the server, the next one adopts its PostgreSQL with every acknowledged commit', async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  const sql = connect(t, server.url)
  await sql`CREATE TABLE acknowledged (n int)`
  let last = 0
  const writing = (async () => {
    for (let n = 1; ; n++) {
      await sql`INSERT INTO acknowledged VALUES (${n})`
      last = n
    }
  })()
  await eventually(async () => last > 10)
  const pid = postmasterPid(dataDir)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')

  const notices: string[] = []
  const adopted = await start(t, { dataDir, log: { ...silent, info: message => notices.push(message) } })
  assert.equal(postmasterPid(dataDir), pid)
  assert.match(notices.join(), /adopted/)
  assert.equal(adopted.url, server.url)
  const promised = last
  await sql.end({ timeout: 0 })
  await assert.rejects(writing)
  const [count] = await connect(t, adopted.url)`SELECT count(*)::int AS n FROM acknowledged WHERE n <= ${promised}`
  assert.ok(promised > 0)
  assert.equal(count!.n, promised)
  await adopted.stop()
  assert.equal(identify(pid), null)
})

test('an orphan with other settings is stopped and started again', async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  await connect(t, server.url)`CREATE TABLE kept AS SELECT 42 AS answer`
  const orphan = postmasterPid(dataDir)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  const { url } = await start(t, { dataDir, durable: true })
  assert.notEqual(postmasterPid(dataDir), orphan)
  assert.equal(identify(orphan), null)
  const [row] = await connect(t, url)`SELECT answer, current_setting('fsync') AS fsync FROM kept`
  assert.deepEqual({ ...row }, { answer: 42, fsync: 'on' })
})

test('after a kill -9 of server and PostgreSQL, another process with the old pid is not mistaken for PostgreSQL', async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  await connect(t, server.url)`CREATE TABLE kept AS SELECT 42 AS answer`
  const postmaster = identify(postmasterPid(dataDir))!
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  process.kill(postmaster.pid, 'SIGKILL')
  await waitForExit(postmaster, 5_000)
  const { uid, gid } = statSync(join(dataDir, 'data'))
  const stranger = spawn('sleep', ['60'], AS_ROOT ? { uid, gid } : {})
  defer(t, () => stranger.kill('SIGKILL'))
  for (const file of ['data/postmaster.pid', 'socket/.s.PGSQL.5432.lock']) {
    const path = join(dataDir, file)
    writeFileSync(path, readFileSync(path, 'utf8').replace(/^\d+/, String(stranger.pid)))
  }
  const { url } = await start(t, { dataDir })
  assert.deepEqual([...(await connect(t, url)`SELECT answer FROM kept`)], [{ answer: 42 }])
  assert.equal(stranger.exitCode ?? stranger.signalCode, null)
})

test('a backend that outlives its killed postmaster is waited for', async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  const [backend] = await connect(t, server.url)`SELECT pg_backend_pid() AS pid`
  process.kill(backend!.pid, 'SIGSTOP')
  defer(t, () => identify(backend!.pid) && process.kill(backend!.pid, 'SIGKILL'))
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  process.kill(postmasterPid(dataDir), 'SIGKILL')

  const starting = start(t, { dataDir })
  const log = () => readFileSync(join(dataDir, 'postgres.log'), 'utf8')
  await eventually(async () => /pre-existing shared memory block/.test(log()))
  process.kill(backend!.pid, 'SIGCONT')
  const { url } = await starting
  assert.equal((await connect(t, url)`SELECT 1`).length, 1)
})

test('a killed PostgreSQL is restarted and logged, and answers at the same URL', async t => {
  const dataDir = clusterDirectory(t)
  const complaints: string[] = []
  const notices: string[] = []
  const log = { ...silent, error: (m: string) => complaints.push(m), info: (m: string) => notices.push(m) }
  const { url, stop } = await start(t, { dataDir, log })
  const sql = connect(t, url)
  await sql`CREATE TABLE kept AS SELECT 42 AS answer`
  for (const round of [1, 2]) {
    process.kill(postmasterPid(dataDir), 'SIGKILL')
    await eventually(async () => notices.length === round + 1)
    assert.match(complaints[round - 1]!, new RegExp(`has stopped; restarting it in \\d+ ms \\(attempt ${round}\\)`))
  }
  // The pool detects its dead connection only by using it.
  await sql`SELECT 1`.catch(() => {})
  assert.deepEqual([...(await sql`SELECT answer FROM kept`)], [{ answer: 42 }])

  const last = identify(postmasterPid(dataDir))!
  process.kill(last.pid, 'SIGKILL')
  await stop()
  assert.equal(await findEmbeddedPostgres(dataDir), null)
  const successor = Number(readPostmasterPid(dataDir) ?? last.pid)
  assert.equal(identify(successor), null)
})

test('Ctrl-C in the terminal reaches the server but not its PostgreSQL', async t => {
  const dataDir = clusterDirectory(t)
  const server = await spawnServer(t, dataDir)
  process.kill(-server.process.pid!, 'SIGINT')
  assert.equal(await server.nextLine(), 'still answering after SIGINT')
})

test('a database of another major version is refused and left unchanged', async t => {
  const dataDir = freshDirectory(t)
  const data = join(dataDir, 'data')
  mkdirSync(data, { recursive: true })
  writeFileSync(join(data, 'PG_VERSION'), '17\n')
  const before = statSync(data)
  await assert.rejects(startEmbeddedPostgres({ dataDir, log: silent }), {
    name: 'EmbeddedPostgresError',
    message: /was created by PostgreSQL 17, but this is PostgreSQL 18: restore a backup/
  })
  const after = statSync(data)
  assert.deepEqual([after.uid, after.mode, after.mtimeMs], [before.uid, before.mode, before.mtimeMs])
  assert.deepEqual(readdirSync(dataDir).sort(), ['data', 'owner.lock', 'owner.pid'])
  assert.equal(readFileSync(join(data, 'PG_VERSION'), 'utf8'), '17\n')
})

test('an interrupted initdb is repeated', async t => {
  const dataDir = freshDirectory(t)
  const victim = launchServer(t, dataDir)
  const isHalfWay = () => readdirSync(dataDir).some(name => existsSync(join(dataDir, name, 'PG_VERSION')))
  await eventually(async () => existsSync(dataDir) && isHalfWay())
  victim.kill('SIGKILL')
  await once(victim, 'exit')
  assert.ok(!existsSync(join(dataDir, 'data')))
  const { url } = await start(t, { dataDir })
  assert.equal((await connect(t, url)`SELECT 1`).length, 1)
  assert.deepEqual(
    readdirSync(dataDir).filter(name => name.startsWith('data')),
    ['data']
  )
})

test('something else in place of the database is not overwritten', async t => {
  const dataDir = freshDirectory(t)
  mkdirSync(join(dataDir, 'data'), { recursive: true })
  writeFileSync(join(dataDir, 'data', 'thesis.txt'), 'ten years of work')
  await assert.rejects(startEmbeddedPostgres({ dataDir, log: silent }), /contains something other than a database/)
  assert.equal(readFileSync(join(dataDir, 'data', 'thesis.txt'), 'utf8'), 'ten years of work')
})

test('a failed start quotes the log and frees the directory for the next owner', async t => {
  const dataDir = clusterDirectory(t)
  const control = join(dataDir, 'data', 'global', 'pg_control')
  const intact = readFileSync(control)
  truncateSync(control)
  await assert.rejects(startEmbeddedPostgres({ dataDir, log: silent }), {
    name: 'EmbeddedPostgresError',
    message: /did not start \(\w+\); the end of .*postgres\.log:\n[\s\S]*pg_control/
  })
  writeFileSync(control, intact)
  await start(t, { dataDir })
})

test('an aborted initdb ends immediately and leaves nothing', async t => {
  const dataDir = freshDirectory(t)
  for (const delay of [0, 60, 200]) {
    const starting = startEmbeddedPostgres({ dataDir, log: silent, durable: false, signal: AbortSignal.timeout(delay) })
    await assert.rejects(starting, { name: 'TimeoutError' })
    assert.ok(!readdirSync(dataDir).some(name => name.startsWith('data')))
  }
  const endless = () => spawnProgram(['sh', '-c', 'sleep 600; exit'], {})
  await assert.rejects(runProgram(endless, '', AbortSignal.timeout(100)), { name: 'TimeoutError' })
})

test('an aborted start leaves nothing running and frees the directory for the next owner', async t => {
  const dataDir = clusterDirectory(t)
  const sluggish = join(dirname(dataDir), 'sluggish')
  const pidFile = join(dataDir, 'data', 'pid')
  writeFileSync(
    sluggish,
    `#!/bin/sh
    test "$1" = --version && exec ${installed.postgres} --version
    echo $$ > '${pidFile}'
    exec sleep 600`,
    { mode: 0o755 }
  )
  const abort = new AbortController()
  const starting = startEmbeddedPostgres({
    dataDir,
    log: silent,
    durable: false,
    signal: abort.signal,
    binaries: { ...installed, postgres: sluggish }
  })
  await eventually(async () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'))
  abort.abort()
  await assert.rejects(starting, { name: 'AbortError' })
  assert.equal(identify(Number(readFileSync(pidFile, 'utf8'))), null)
  await start(t, { dataDir })
})

test('a directory that cannot be created is named in the error', async t => {
  const directory = freshDirectory(t)
  writeFileSync(directory, 'a file')
  await assert.rejects(startEmbeddedPostgres({ dataDir: join(directory, 'postgres'), log: silent }), {
    name: 'EmbeddedPostgresError',
    message: `The embedded PostgreSQL cannot use ${join(directory, 'postgres')}: a component of its path is a file.`
  })
})

test('a path too long for a socket gets a private short one, which survives a kill -9 but not a stop', async t => {
  const dataDir = join(freshDirectory(t), 'a'.repeat(100), 'ü, "quoted" and spaced', 'b'.repeat(100))
  const server = await spawnServer(t, dataDir)
  const socketDirectory = readlinkSync(join(dataDir, 'socket'))
  assert.equal(lstatSync(dirname(socketDirectory)).mode & 0o777, 0o700)
  server.process.kill('SIGKILL')
  await once(server.process, 'exit')
  const pid = postmasterPid(dataDir)
  const adopted = await start(t, { dataDir })
  assert.equal(postmasterPid(dataDir), pid)
  assert.equal((await connect(t, adopted.url)`SELECT 1`).length, 1)
  await adopted.stop()
  assert.ok(!existsSync(dirname(socketDirectory)))
})

test('the path may contain commas, quotes and spaces', async t => {
  const dataDir = clusterDirectory(t, 'a, "b" ü')
  const { url } = await start(t, { dataDir })
  assert.ok(lstatSync(join(dataDir, 'socket')).isDirectory())
  assert.equal((await connect(t, url)`SELECT 1`).length, 1)
})

test('a log that is too large is rotated at the start', async t => {
  const dataDir = clusterDirectory(t)
  const log = join(dataDir, 'postgres.log')
  truncateSync(log, 11 * 1024 * 1024)
  await start(t, { dataDir })
  assert.ok(statSync(log).size < 10_000)
  assert.equal(statSync(`${log}.1`).size, 11 * 1024 * 1024)
})

test('missing SONAME links of the libraries are restored, even by several processes at once', async t => {
  const binaries = copyOfBinaries(t, 0o755)
  const directories = [clusterDirectory(t), clusterDirectory(t)]
  await Promise.all(directories.map(dataDir => start(t, { dataDir, binaries })))
  assert.equal(readlinkSync(join(binaries.directory, 'native/lib/libicuuc.so.60')), 'libicuuc.so.60.2')
})

test('root runs it unprivileged below a directory that only root may enter', { skip: ONLY_LINUX_ROOT }, async t => {
  const dataDir = freshDirectory(t, 0o700)
  const { url } = await start(t, { dataDir, binaries: copyOfBinaries(t, 0o700) })
  assert.equal((await connect(t, url)`SELECT 1`).length, 1)
  const { uid, capabilities } = statusOf(postmasterPid(dataDir))
  assert.notEqual(uid, 0)
  assert.equal(capabilities, 1n << 2n, 'CAP_DAC_READ_SEARCH and no other')
})

test('without these capabilities, root runs it in a user namespace', { skip: ONLY_LINUX_ROOT }, async t => {
  const dataDir = freshDirectory(t, 0o700)
  const without = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--']
  const server = await spawnServer(t, dataDir, without)
  assert.equal((await connect(t, server.url)`SELECT 1`).length, 1)
  const namespaceOf = (pid: number | 'self') => readlinkSync(`/proc/${pid}/ns/user`)
  assert.notEqual(namespaceOf(postmasterPid(dataDir)), namespaceOf('self'))
})

test('a PostgreSQL running in another container is detected and left alone', { skip: ONLY_LINUX_ROOT }, async t => {
  const dataDir = clusterDirectory(t)
  const container = [
    'unshare',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    'sh',
    '-c',
    'exec 2>/dev/null; "$@"; sleep 60',
    'sh'
  ]
  const server = await spawnServer(t, dataDir, container)
  const refusal = () => startEmbeddedPostgres({ dataDir, log: silent, durable: false }).then(String, String)
  assert.match(await refusal(), /is in use by another server/)
  const shell = childOf(server.process.pid!)
  process.kill(childOf(shell), 'SIGKILL')
  await eventually(async () => /is in use by a PostgreSQL outside this machine/.test(await refusal()))
  assert.equal((await connect(t, server.url)`SELECT 1`).length, 1)
})

test('if the directories are accessible, root runs it without any capability', { skip: ONLY_LINUX_ROOT }, async t => {
  const dataDir = clusterDirectory(t)
  await start(t, { dataDir, binaries: copyOfBinaries(t, 0o755) })
  const { uid, capabilities } = statusOf(postmasterPid(dataDir))
  assert.notEqual(uid, 0)
  assert.equal(capabilities, 0n)
})

/** Like `t.after()`, but what was acquired last is released first. */
function defer(t: TestContext, release: () => unknown): void {
  const releases = deferred.get(t) ?? []
  if (releases.push(release) > 1) return
  deferred.set(t, releases)
  t.after(() => releaseAll(releases))
}

async function releaseAll(releases: (() => unknown)[]): Promise<void> {
  const release = releases.pop()
  if (!release) return
  try {
    await release()
  } finally {
    await releaseAll(releases)
  }
}

async function start(t: TestContext, options: Partial<EmbeddedPostgresOptions> & { dataDir: string }) {
  const server: EmbeddedPostgres = await startEmbeddedPostgres({ log: silent, durable: false, ...options })
  defer(t, () => server.stop())
  return server
}

/** A path that does not exist yet, in a parent with the given mode; files and processes are removed after the test. */
function freshDirectory(t: TestContext, mode = 0o755, name = 'postgres'): string {
  const parent = mkdtempSync(join(tmpdir(), 'rhone-embedded-'))
  chmodSync(parent, mode)
  const directory = join(parent, name)
  defer(t, async () => {
    const pid = readPostmasterPid(directory)
    const leftover = pid && commandLine(pid).includes(directory) && identify(pid)
    if (leftover) {
      process.kill(leftover.pid, 'SIGKILL')
      await waitForExit(leftover, 5_000)
    }
    rmSync(parent, { recursive: true, force: true, maxRetries: 10 })
  })
  return directory
}

/** A directory as an earlier server left it. */
function clusterDirectory(t: TestContext, name?: string): string {
  const directory = freshDirectory(t, 0o755, name)
  execFileSync('cp', ['-a', earlier, directory])
  return directory
}

function copyOfBinaries(t: TestContext, mode: number) {
  const directory = freshDirectory(t, mode)
  cpSync(installed.directory, directory, { recursive: true, verbatimSymlinks: true })
  const libraries = join(directory, 'native', 'lib')
  for (const entry of readdirSync(libraries, { withFileTypes: true })) {
    if (entry.isSymbolicLink()) rmSync(join(libraries, entry.name))
  }
  return binariesIn(directory)
}

function connect(t: TestContext, url: string, options: postgres.Options<Record<string, never>> = {}) {
  const sql = postgres(url, { max: 1, fetch_types: false, ...options })
  defer(t, () => sql.end({ timeout: 0 }))
  return sql
}

interface Server {
  readonly process: ChildProcess
  readonly url: string
  nextLine(): Promise<string>
}

async function spawnServer(t: TestContext, dataDir: string, prefix: string[] = []): Promise<Server> {
  const child = launchServer(t, dataDir, prefix)
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const nextLine = async () => String((await lines.next()).value)
  return { process: child, url: await nextLine(), nextLine }
}

/** A server in its own process group, which prints its database's URL and stops on SIGTERM. */
function launchServer(t: TestContext, dataDir: string, prefix: string[] = []): ChildProcess {
  const script = `
    import { startEmbeddedPostgres } from ${JSON.stringify(import.meta.resolve('../../src/embedded-postgres/index.ts'))}
    import postgres from ${JSON.stringify(import.meta.resolve('postgres'))}
    const log = { info() {}, warn: console.error, error: console.error }
    const server = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, log, durable: false })
    const sql = postgres(server.url, { max: 1 })
    await sql\`SELECT 1\`
    process.once('SIGTERM', async () => {
      await sql.end()
      await server.stop()
    })
    process.on('SIGINT', async () => {
      await sql\`SELECT pg_sleep(0.2)\`
      console.log('still answering after SIGINT')
    })
    console.log(server.url)
  `
  const command = [...prefix, process.execPath, '--input-type=module', '--eval', script]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  defer(t, async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return child
}

function readPostmasterPid(dataDir: string): number | null {
  const path = join(dataDir, 'data', 'postmaster.pid')
  return existsSync(path) ? Number.parseInt(readFileSync(path, 'utf8'), 10) : null
}

function postmasterPid(dataDir: string): number {
  const pid = readPostmasterPid(dataDir)
  assert.ok(pid, `a postmaster runs in ${dataDir}`)
  return pid
}

function childOf(pid: number): number {
  return Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), 10)
}

function statusOf(pid: number): { uid: number; capabilities: bigint } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    uid: Number(/^Uid:\s+(\d+)/m.exec(status)![1]),
    capabilities: BigInt(`0x${/^CapEff:\s+(\w+)/m.exec(status)![1]}`)
  }
}
