import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import type { Scope } from './database.ts'
import { freePort } from './free-port.ts'

export interface RedisServer {
  url: string
  port: number
  process: ChildProcess
}

/** A private Redis on a free port, without persistence, until the test ends. Skips the test if Redis is missing. */
export async function redisServer(t: TestContext, settings: readonly string[] = []): Promise<RedisServer | undefined> {
  const port = await freePort()
  const server = await startRedis(t, port, settings)
  if (server !== undefined) return server
  if (process.env.RHONE_TEST_REQUIRE?.split(',').includes('redis')) throw new Error('redis-server is not installed')
  t.skip('redis-server is not installed')
}

/** @param port for restarting a stopped server */
export async function startRedis(
  t: Scope,
  port: number,
  settings: readonly string[] = []
): Promise<RedisServer | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-redis-'))
  const quiet = ['--save', '', '--appendonly', 'no', '--bind', '127.0.0.1']
  const child = spawn('redis-server', [...quiet, '--port', String(port), '--dir', directory, ...settings], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.after(async () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }
    await rm(directory, { recursive: true, force: true })
  })
  return (await isServing(child)) ? { url: `redis://127.0.0.1:${port}`, port, process: child } : undefined
}

/** False if the program is missing. */
async function isServing(child: ChildProcess): Promise<boolean> {
  const lines: string[] = []
  const ready = new Promise<boolean>((resolve, reject) => {
    child.once('error', error => ('code' in error && error.code === 'ENOENT' ? resolve(false) : reject(error)))
    child.once('exit', code => reject(new Error(`redis-server ended with ${code}:\n${lines.join('\n')}`)))
    createInterface(child.stdout!).on('line', line => {
      lines.push(line)
      if (line.includes('Ready to accept connections')) resolve(true)
    })
  })
  return ready
}
