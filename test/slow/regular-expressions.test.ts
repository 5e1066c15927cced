import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { test } from 'node:test'
import { parseSync, Visitor } from 'oxc-parser'
import { check } from 'recheck'

const ROOT = join(import.meta.dirname, '../..')

/** Expressions with superlinear time, by file; their input is short, or trusted. */
const BOUNDED: Readonly<Record<string, readonly [pattern: string, bound: string][]>> = {
  'integrations/builder/buildkit.ts': [
    ['"containerimage\\.digest"', 'the metadata that buildctl wrote'],
    ['^error: .*process', 'the last 4 KB that buildctl said'],
    ['^(error|#\\d+ ERROR): ', 'the last 4 KB that buildctl said']
  ],
  'integrations/builder/git.ts': [
    ["transport '\\S{1,50}'", 'the last 4 KB that git said'],
    ["couldn't find remote ref", 'the last 4 KB that git said'],
    ['repository .{0,500}not found', 'the last 4 KB that git said'],
    [' CAfile: ', 'one line of the last 4 KB that git said']
  ],
  'integrations/builder/public-address.ts': [['(\\d+)\\.', 'a host name that the URL parser took']],
  'integrations/deployer/fly/apps.ts': [['-+$', 'a slug: 63 characters']],
  'integrations/deployer/local/runner/reply-head.ts': [
    ['^content-length', 'the head of a reply: 64 KB of latin1, in which only \\r and \\n end lines']
  ],
  'integrations/github/deliveries.ts': [['<([^>]+)>', 'a header of GitHub: 16 KB']],
  'plugins/lib/tar.ts': [['^ *[0-7]*', 'a field of twelve bytes']],
  'plugins/operations/samples.ts': [['(\\w+)=', 'our own metrics']],
  'plugins/openapi/curl.ts': [['\\{([^}]+)\\}', 'the path of a route']],
  'plugins/redis/target.ts': [['^(?<scheme>', "an operator's setting"]],
  'schemas/apps.ts': [['^(?![-/.])', 'the name of a branch: 255 characters']],
  'schemas/invitations.ts': [['{1,64}@', 'an address: 254 characters']],
  'src/config/backups.ts': [['^\\/+', "an operator's setting"]],
  'src/config/telemetry.ts': [['^\\d*', "an operator's setting"]],
  'src/config/data.ts': [['\\/\\/[^@/]*:', "an operator's setting"]],
  'src/config/index.ts': [['change.?me', "an operator's setting"]],
  'src/config/values.ts': [['\\/+$', "an operator's setting"]],
  'src/embedded-postgres/postmaster.ts': [
    ['pre-existing shared memory', "the server's own log"],
    ['(?:^|\\/)postgres -D', "a command line of this machine's, 4 KB"]
  ]
}

test('regular expressions are linear, except those for bounded text', async t => {
  const expressions = await expressionsOf('{src,plugins,integrations,routes,schemas,views,drizzle}/**/*.ts')
  assert.ok(expressions.length > 200)
  const slow: string[] = []
  const queue = expressions.values()
  await Promise.all([checkAll(queue), checkAll(queue)])
  assert.deepEqual(slow, [])

  async function checkAll(some: Iterable<Expression>): Promise<void> {
    for (const { file, pattern, flags } of some) {
      const { status } = await check(pattern, flags, { timeout: 30_000 })
      if (status === 'unknown') t.diagnostic(`no verdict in time: ${file}: ${pattern}`)
      if (status === 'vulnerable' && !isBounded(file, pattern)) slow.push(`${file}: ${pattern}`)
    }
  }
})

test('each listed expression for bounded text exists', async () => {
  const expressions = await expressionsOf('{src,plugins,integrations,schemas}/**/*.ts')
  for (const [file, patterns] of Object.entries(BOUNDED))
    for (const [start] of patterns)
      assert.ok(
        expressions.some(known => known.file === file && known.pattern.includes(start)),
        `${file}: ${start}`
      )
})

interface Expression {
  readonly file: string
  readonly pattern: string
  readonly flags: string
}

/** All literals, and the patterns of all schemas. */
async function expressionsOf(files: string): Promise<Expression[]> {
  const found = new Map<string, Expression>()
  for await (const path of glob(join(ROOT, files))) {
    const file = relative(ROOT, path)
    const add = (pattern: string, flags: string) => found.set(`${pattern}/${flags}`, { file, pattern, flags })
    new Visitor({
      Literal(node) {
        if ('regex' in node && node.regex) add(node.regex.pattern, node.regex.flags)
      },
      Property({ key, value }) {
        const isPattern = key.type === 'Identifier' && key.name === 'pattern'
        if (isPattern && value.type === 'Literal' && typeof value.value === 'string') add(value.value, 'u')
      }
    }).visit(parseSync(file, await readFile(path, 'utf8')).program)
  }
  return [...found.values()]
}

function isBounded(file: string, pattern: string): boolean {
  return (BOUNDED[file] ?? []).some(([start]) => pattern.includes(start))
}
