/**
 * Runs test files over one PostgreSQL cluster, then prints one line for each test that was skipped, and why.
 *
 * - `npm test`: all but those under `test/slow`
 * - `npm run test:slow`: those, and every file again that draws or crowds more there (`test/support/thorough.ts`)
 * - with paths or globs: those files
 */
import { once } from 'node:events'
import { chmod, glob, mkdir, mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { freemem, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../src/embedded-postgres/index.ts'

/** Bytes. */
const ROOMY = 6 * 1024 ** 3

const { values, positionals } = parseArgs({ options: { slow: { type: 'boolean' } }, allowPositionals: true })
const { slow: isSlow = false } = values
const files = await chooseFiles(positionals)
// The longest first, which start servers, so that the cores stay busy to the end.
files.sort((a, b) => Number(startsServers(b)) - Number(startsServers(a)) || a.localeCompare(b))
const required = (process.env.RHONE_TEST_REQUIRE ?? '').split(',').filter(Boolean)
const log = { info() {}, warn: console.error, error: console.error }

const dataDir = await mkdtemp(join(await quickestDisk(), 'rhone-test-'))
// Whatever tests make, many of them as users of their own.
process.env.TMPDIR = join(dataDir, 'tmp')
await mkdir(process.env.TMPDIR)
await Promise.all([chmod(dataDir, 0o711), chmod(process.env.TMPDIR, 0o1777)])
const postgres = process.env.RHONE_TEST_DATABASE_URL
  ? null
  : await startEmbeddedPostgres({ dataDir: join(dataDir, 'postgres'), log, durable: false })
if (postgres !== null) process.env.RHONE_TEST_DATABASE_URL = postgres.url

const skipped: string[] = []
let failed = 0
/** Half of what most files cost is to load the server. */
const quickImports = join(import.meta.dirname, '../src/quick-imports.ts')
// So that even what is preloaded need not be stripped of its types, and the stripper is not loaded.
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '../.cache')
const fileDeadline = join(import.meta.dirname, 'support/file-deadline.ts')
if (isSlow) Object.assign(process.env, { RHONE_TEST_THOROUGH: '1', RHONE_TEST_DEADLINE: '1200' })
const stream = run({
  files,
  concurrency: isSlow ? 2 : 4,
  timeout: isSlow ? 900_000 : 120_000,
  execArgv: ['--import', quickImports, '--import', fileDeadline]
})
stream.on('test:fail', ({ details }) => {
  if (details.type !== 'suite') failed += 1
})
stream.on('test:pass', ({ name, skip }) => {
  if (skip !== undefined) skipped.push(`${name}: ${skip === true ? 'no reason given' : skip}`)
})
stream.compose(new spec()).pipe(process.stdout)
await once(stream, 'end')

await postgres?.stop()
await rm(dataDir, { recursive: true, force: true })

for (const line of skipped) console.log(`skipped: ${line}`)
const forbidden = required.length > 0 ? skipped.length : 0
if (forbidden > 0) console.error(`${forbidden} skipped, but ${required.join(' and ')} must be there`)
process.exitCode = failed > 0 || forbidden > 0 || files.length === 0 ? 1 : 0

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

function startsServers(file: string): boolean {
  return ['test', 'test/acceptance'].includes(dirname(file))
}

/** Most of what many tests cost is the making of their database or cluster, which takes half as long in memory. */
async function quickestDisk(): Promise<string> {
  const memory = '/dev/shm'
  const found = await statfs(memory).catch(() => null)
  return found !== null && found.bavail * found.bsize > ROOMY && freemem() > ROOMY ? memory : tmpdir()
}
