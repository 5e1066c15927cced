import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { Scope } from './database.ts'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'

/** Like {@link startHaproxy}, but skips the test if haproxy is missing. */
export async function haproxy(t: TestContext, ...setup: Setup): Promise<number | undefined> {
  const port = await startHaproxy(t, ...setup)
  if (port === undefined) t.skip('haproxy is not installed')
  return port
}

type Setup = [servers: readonly string[], settings?: readonly string[]]

/**
 * Starts haproxy in front of one or more servers; it appends the client to `X-Forwarded-For`.
 *
 * @param servers addresses, optionally with haproxy settings for each
 * @param settings lines for the section that contains the servers
 * @returns its port; undefined if the program is missing
 */
export async function startHaproxy(scope: Scope, ...[servers, settings = []]: Setup): Promise<number | undefined> {
  const port = await freePort()
  const directory = await mkdtemp(join(tmpdir(), 'rhone-haproxy-'))
  scope.after(() => rm(directory, { recursive: true }))
  const file = join(directory, 'haproxy.cfg')
  await writeFile(file, configuration(port, servers, settings))
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' })
  const isThere = await once(child, 'spawn').then(
    () => true,
    () => false
  )
  if (!isThere) return undefined
  scope.after(async () => {
    const exited = once(child, 'exit')
    child.kill()
    await exited
  })
  await eventually(
    () => accepts(port),
    isOpen => isOpen
  )
  return port
}

function configuration(port: number, servers: readonly string[], settings: readonly string[]): string {
  const lines = [...settings, ...servers.map((server, index) => `server s${index} ${server}`)]
  return `defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen proxy
  bind 127.0.0.1:${port}
${lines.map(line => `  ${line}\n`).join('')}`
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
