/**
 * Runs test files over one PostgreSQL cluster, then prints one line for each test that was skipped, and why.
 *
 * - `npm test`: all but those under `test/slow`
 * - `npm run test:slow`: those, and again every file that has more property runs or clients there
 *   (`test/support/thorough.ts`)
 * - with paths or globs: those files
 *
 * With `RHONE_TEST_RETRY=1`, the few files that fail run once more, alone: failures caused by a busy machine do not recur,
 * defects do. The last lines name each file that passed only then.
 */
import { once } from 'node:events'
import { chmod, glob, mkdir, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { freemem, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../src/embedded-postgres/index.ts'

/** Bytes. */
const ROOMY = 6 * 1024 ** 3
/** Maximum number of failed files that are retried. */
const MOST_RETRIES = 8
/**
 * Maximum number of files that share a process. Loading the server takes a second per process, and warm code needs a third
 * of the time, but the memory that files leave behind adds up.
 */
const FILES_PER_PROCESS = 16
/** Servers of several test files are connected at the same time, each with its own pools. */
const MAX_CONNECTIONS = 500
/** Time limit of a file in seconds. A slow machine takes three times as long as a fast one. */
const DEADLINE = { quick: 300, slow: 1_800 }
/** Seconds for anything that the files of a process have left running to end. */
const GRACE = 30

const { values, positionals } = parseArgs({ options: { slow: { type: 'boolean' } }, allowPositionals: true })
const { slow: isSlow = false } = values
const files = await chooseFiles(positionals)
// The slowest files first, so that all cores stay busy to the end.
files.sort((a, b) => Number(isLong(b)) - Number(isLong(a)) || a.localeCompare(b))
const required = (process.env.RHONE_TEST_REQUIRE ?? '').split(',').filter(Boolean)
const log = { info() {}, warn: console.error, error: console.error }

const dataDir = await mkdtemp(join(await quickestDisk(), 'rhone-test-'))
// For all files that tests create, many of them as other users.
process.env.TMPDIR = join(dataDir, 'tmp')
await mkdir(process.env.TMPDIR)
await Promise.all([chmod(dataDir, 0o711), chmod(process.env.TMPDIR, 0o1777)])
const postgres = process.env.RHONE_TEST_DATABASE_URL
  ? null
  : await startEmbeddedPostgres({
      dataDir: join(dataDir, 'postgres'),
      log,
      durable: false,
      maxConnections: MAX_CONNECTIONS
    })
if (postgres !== null) process.env.RHONE_TEST_DATABASE_URL = postgres.url

/** Loading the server is half of the cost of most files. */
const quickImports = join(import.meta.dirname, '../src/quick-imports.ts')
// So that types need not be stripped even from preloaded modules, and the stripper is not loaded.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '../.cache')
const deadline = isSlow ? DEADLINE.slow : DEADLINE.quick
if (isSlow) process.env.RHONE_TEST_THOROUGH = '1'

const skipped: string[] = []
const failing = await (isSlow ? runSlowFiles(files) : runFiles(files, 4, FILES_PER_PROCESS))
const suspects = process.env.RHONE_TEST_RETRY === '1' && failing.size <= MOST_RETRIES ? [...failing] : []
for (const file of suspects) {
  console.log(`again, alone: ${file}`)
  const again = await runFiles([file], 1, 1)
  if (again.size === 0) failing.delete(file)
}

await postgres?.stop()
await rm(dataDir, { recursive: true, force: true })

for (const line of skipped) console.log(`skipped: ${line}`)
for (const file of suspects) if (!failing.has(file)) console.log(`passed only when it ran alone: ${file}`)
for (const file of failing) console.error(`failed: ${file}`)
const forbidden = required.length > 0 ? skipped.length : 0
if (forbidden > 0) console.error(`${forbidden} skipped, but ${required.join(' and ')} must be there`)
process.exitCode = failing.size > 0 || forbidden > 0 || files.length === 0 ? 1 : 0

/**
 * Runs these files in several processes at a time, each of which takes one file after the other up to its share, and prints
 * their output.
 *
 * @returns the files that failed or did not end
 */
async function runFiles(these: string[], concurrency: number, share: number): Promise<Set<string>> {
  if (these.length === 0) return new Set()
  const place = await mkdtemp(join(dataDir, 'run-'))
  const together = JSON.stringify(join(import.meta.dirname, 'support/together.ts'))
  const script = `import { runTogether } from ${together}
await runTogether(${JSON.stringify({ files: these, share, claims: place, deadline, grace: GRACE })})`
  const scripts = Array.from({ length: Math.ceil(these.length / share) }, (_, at) => join(place, `${at}.test.mjs`))
  await Promise.all(scripts.map(path => writeFile(path, script)))
  const unproven = new Set(these)
  const failed = new Set<string>()
  const stream = run({
    files: scripts,
    concurrency,
    execArgv: ['--min-semi-space-size=32', '--max-semi-space-size=32', '--import', quickImports]
  })
  stream.on('test:fail', ({ name, nesting }) => {
    if (nesting === 0 && unproven.has(name)) failed.add(name)
  })
  stream.on('test:pass', ({ name, skip, nesting }) => {
    if (nesting === 0) unproven.delete(name)
    if (skip !== undefined) skipped.push(`${name}: ${skip === true ? 'no reason given' : skip}`)
  })
  stream.compose(new spec()).pipe(process.stdout, { end: false })
  await once(stream, 'end')
  return new Set([...unproven, ...failed])
}

/** Runs each file in a process of its own, and one with a browser at a time: a browser keeps both cores busy. */
async function runSlowFiles(these: string[]): Promise<Set<string>> {
  const inBrowser = await Promise.all(these.map(usesBrowser))
  const [withBrowser, without] = [these.filter((_, at) => inBrowser[at]), these.filter((_, at) => !inBrowser[at])]
  const failed = await Promise.all([runFiles(withBrowser, 1, 1), runFiles(without, 2, 1)])
  return new Set(failed.flatMap(names => [...names]))
}

async function usesBrowser(file: string): Promise<boolean> {
  return (await readFile(file, 'utf8')).includes('launchBrowser')
}

async function chooseFiles(patterns: readonly string[]): Promise<string[]> {
  const found = await Array.fromAsync(glob(patterns.length > 0 ? patterns : 'test/**/*.test.ts'))
  if (patterns.length > 0) return found
  const belongs = await Promise.all(found.map(async file => (isSlow ? await gainsFromTime(file) : !isUnderSlow(file))))
  return found.filter((_file, at) => belongs[at])
}

function isUnderSlow(file: string): boolean {
  return file.startsWith(join('test', 'slow'))
}

async function gainsFromTime(file: string): Promise<boolean> {
  return isUnderSlow(file) || (await readFile(file, 'utf8')).includes("/support/thorough.ts'")
}

/** Files that start servers, build, deploy or back up. */
function isLong(file: string): boolean {
  const folder = dirname(file)
  return folder === 'test' || ['acceptance', 'integrations', 'workflows'].includes(folder.split('/')[1] ?? '')
}

/** Creating databases and clusters dominates the cost of many tests, and is twice as fast in memory. */
async function quickestDisk(): Promise<string> {
  const memory = '/dev/shm'
  const found = await statfs(memory).catch(() => null)
  return found !== null && found.bavail * found.bsize > ROOMY && freemem() > ROOMY ? memory : tmpdir()
}
