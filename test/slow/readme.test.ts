import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { freePort } from '../support/free-port.ts'

const ROOT = join(import.meta.dirname, '../..')

interface Step {
  readonly commands: string
  /** Their output, where `...` stands for anything. */
  readonly expected: RegExp
}

/** Each block of commands in the walk-through, with the block of output that follows it. */
async function walkThrough(): Promise<Step[]> {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
  const section = /^## Walk-through$(.*?)^## /ms.exec(readme)?.[1] ?? ''
  const blocks = [...section.matchAll(/^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?/gms)]
  return blocks.map(([, commands = '', output = '']) => ({ commands, expected: patternOf(output) }))
}

function patternOf(output: string): RegExp {
  const parts = output.trim().split('...')
  return new RegExp(`^\\s*${parts.map(part => RegExp.escape(part)).join('.*?')}\\s*$`, 's')
}

test('the walk-through of the README works as described', async t => {
  const [start, ...steps] = await walkThrough()
  assert.match(start?.commands ?? '', /^npm ci && npm start$/m)
  assert.ok(steps.length >= 8, `only ${steps.length} steps found`)

  const clone = await cloneOf(t)
  const port = String(await freePort())
  const { server, said } = await startServer(t, clone, port)
  const [making = '', ready = ''] = said
  assert.match(making, /^ {2}First start: creating a database in .*\.rhone\/postgres, which takes a few seconds/)
  assert.match(ready, /is ready at/)
  const script = steps.map(({ commands }) => commands.replace('127.0.0.1:8080', `127.0.0.1:${port}`))

  const outputs = await runInOneShell(clone, script)
  for (const [index, { commands, expected }] of steps.entries()) assert.match(outputs[index]!, expected, commands)

  const exited = once(server, 'exit')
  server.kill('SIGINT')
  assert.deepEqual(await exited, [0, null])
  const ignored = ['.rhone', '.cache']
  const left = (await readdir(clone)).filter(name => !ignored.includes(name))
  assert.deepEqual(left.toSorted(), ['examples', 'node_modules', 'package.json', 'src'], 'nothing is left behind')
})

test('the first screen of the README states purpose, audience and alternatives, and has a picture', async () => {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
  const first = readme.slice(0, readme.indexOf('## Walk-through'))
  for (const word of ['a product to run', 'plugins to use', 'It is for', 'Coolify', 'Dokku', 'npm ci && npm start'])
    assert.ok(first.includes(word), word)
  const [, picture] = /!\[[^\]]+\]\(([^)]+\.svg)\)/.exec(first) ?? []
  assert.match(await readFile(join(ROOT, picture!), 'utf8'), /^<svg [^>]*viewBox/)
})

/** A separate working folder, so that the walk-through finds no earlier state and leaves none. */
async function cloneOf(t: TestContext): Promise<string> {
  const clone = await mkdtemp(join(tmpdir(), 'rhone-readme-'))
  t.after(() => rm(clone, { recursive: true, force: true }))
  await cp(join(ROOT, 'package.json'), join(clone, 'package.json'))
  for (const name of ['src', 'node_modules', 'examples']) await symlink(join(ROOT, name), join(clone, name))
  return clone
}

async function startServer(
  t: TestContext,
  cwd: string,
  PORT: string
): Promise<{ server: ChildProcess; said: readonly string[] }> {
  // A busy machine would make it refuse some of the burst for another reason than the one shown.
  const env = { PATH: process.env.PATH, PORT, RHONE_SWAP: 'pressure=off' }
  const server = spawn(process.execPath, ['src/server.ts'], { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] })
  t.after(() => server.kill('SIGKILL'))
  const said: string[] = []
  for await (const line of createInterface(server.stderr!)) {
    if (line !== '') said.push(line)
    if (line.includes('is ready at')) return { server, said }
  }
  throw new Error('the server has ended without being ready')
}

/** Runs the steps like a reader: exported variables stay available. */
async function runInOneShell(cwd: string, steps: readonly string[]): Promise<string[]> {
  const mark = '---- next step ----'
  const script = steps.map(step => `${step}\necho '${mark}'\n`).join('')
  const flags = ['--norc', '-euo', 'pipefail', '-c']
  const shell = execFile('bash', [...flags, script], { cwd, env: { PATH: process.env.PATH } })
  let [output, problems] = ['', '']
  shell.stdout?.on('data', chunk => (output += chunk))
  shell.stderr?.on('data', chunk => (problems += chunk))
  const [code] = await once(shell, 'close')
  assert.equal(code, 0, problems + output)
  return output.replaceAll('\r', '').split(mark)
}
