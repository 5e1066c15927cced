import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { freePort } from './free-port.ts'
import { tcpProxy } from './tcp-proxy.ts'

/**
 * PgBouncer in transaction mode in front of the database at `url`, until the test ends.
 *
 * @param settings lines for its section `[pgbouncer]`
 * @returns the URL of the database through it; undefined, with the test skipped, if it is not installed
 */
export async function pgbouncer(
  t: TestContext,
  url: string,
  settings: readonly string[] = []
): Promise<string | undefined> {
  // The server may listen on a socket that PgBouncer's own user cannot reach.
  const server = await tcpProxy(t, url)
  const port = await freePort()
  const directory = await mkdtemp(join(tmpdir(), 'rhone-pgbouncer-'))
  t.after(() => rm(directory, { recursive: true }))
  const file = join(directory, 'pgbouncer.ini')
  await writeFile(file, configuration(server.url, port, settings))

  // Debian installs it in a directory that is only in root's PATH.
  const path = [process.env.PATH, '/usr/sbin'].join(delimiter)
  const child = spawn('pgbouncer', [file], { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: path } })
  const lines: string[] = []
  const isUp = await new Promise<boolean>((resolve, reject) => {
    child.once('error', error => ('code' in error && error.code === 'ENOENT' ? resolve(false) : reject(error)))
    child.once('exit', code => reject(new Error(`pgbouncer ended with ${code}:\n${lines.join('\n')}`)))
    createInterface(child.stderr).on('line', line => {
      lines.push(line)
      if (line.includes('process up')) resolve(true)
    })
  })
  if (!isUp) {
    if (process.env.RHONE_TEST_REQUIRE?.split(',').includes('pgbouncer')) throw new Error('pgbouncer is not installed')
    t.skip('pgbouncer is not installed')
    return undefined
  }
  t.after(async () => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  })
  const pooled = new URL(server.url)
  pooled.port = String(port)
  return pooled.href
}

function configuration(url: string, port: number, settings: readonly string[]): string {
  const { host, port: serverPort, username, password } = postgresTarget(url)
  const lines = [
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    // It does not run as root.
    ...(process.getuid?.() === 0 ? ['user = nobody'] : []),
    ...settings
  ]
  return `[databases]
* = host=${host} port=${serverPort} user=${username} password=${password}
[pgbouncer]
${lines.join('\n')}
`
}
