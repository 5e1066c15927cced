/**
 * `npm run bench -- builds`: the duration of local builds of a small npm app: the first one, one after a change of its
 * code, one after a change of its package.json, which reinstalls from downloaded packages, and one of another app,
 * which shares nothing with it. Its only dependency is our version of Fastify, with everything that needs, from the
 * registry that npm is configured for.
 */
import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
import builder, { type BuildPhase } from '../integrations/builder/index.ts'
import packageJson from '../package.json' with { type: 'json' }
import { keepResult } from './results.ts'

const root = await mkdtemp(join(tmpdir(), 'rhone-builds-'))
// If this process is root, builds run as other users.
await chmod(root, 0o711)
const [source, dataDir] = [join(root, 'source'), join(root, 'data')]
const git = (...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=bench', '-c', 'user.email=bench@example.com', '-C', source, ...args])
const manifest = {
  name: 'small',
  version: '1.0.0',
  scripts: { start: 'node server.js' },
  dependencies: { fastify: packageJson.dependencies.fastify }
}
const app = Fastify()
try {
  execFileSync('git', ['init', '--quiet', '--initial-branch=main', source])
  await writeFile(join(source, 'package.json'), JSON.stringify(manifest))
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund'], { cwd: source })
  await app.register(builder, { kind: 'local', dataDir, allowLocal: true })
  await app.ready()

  const [one, other] = [crypto.randomUUID(), crypto.randomUUID()]
  const rows = [
    { build: 'first', ...(await timed(one, '1')) },
    { build: 'after a change of code', ...(await timed(one, '2')) },
    { build: 'after another', ...(await timed(one, '3')) },
    { build: 'after a change of its package.json', ...(await timed(one, '3', 'a small app')) },
    { build: 'first of another app', ...(await timed(other, '3')) }
  ]
  const what = 'Local builds of an app with one dependency, Fastify, and a lockfile: seconds, in total and by phase.'
  console.log(`\n${what}`)
  console.table(rows)
  await keepResult('builds', { what, rows })
} finally {
  await app.close()
  await rm(root, { recursive: true, force: true })
}

async function timed(id: string, code: string, description = '') {
  await writeFile(join(source, 'package.json'), JSON.stringify({ ...manifest, description }))
  await writeFile(join(source, 'server.js'), `require('fastify')({ logger: true }).listen() // ${code}\n`)
  git('add', '--all')
  git('commit', '--quiet', '--allow-empty', '--message', code)
  const began = performance.now()
  const phases: [BuildPhase, number][] = []
  await app.builder.build(
    {
      deploymentId: crypto.randomUUID(),
      app: { id, slug: 'small', flyAppId: 'small' },
      source: { url: pathToFileURL(source).href, branch: 'main' },
      secrets: {}
    },
    {
      signal: new AbortController().signal,
      enter: async phase => void phases.push([phase, performance.now()]),
      say() {},
      note() {},
      hide() {}
    }
  )
  const ended = performance.now()
  const seconds = (time: number) => Number((time / 1_000).toFixed(2))
  const parts = phases.map(([phase, at], index) => [phase, seconds((phases[index + 1]?.[1] ?? ended) - at)])
  return { seconds: seconds(ended - began), ...Object.fromEntries(parts) }
}
