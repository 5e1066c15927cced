import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join, resolve } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'

const root = resolve(import.meta.dirname, '../..')

export interface ServerProcess {
  readonly child: ChildProcess
  /** Settles with the exit code, or the name of the signal that ended the process. */
  readonly exited: Promise<number | NodeJS.Signals>
  /** The lines written to stdout so far. */
  logs(): Record<string, unknown>[]
  /** The text written to stderr so far. */
  said(): string
}

export interface RunningServer extends ServerProcess {
  readonly url: string
  readonly port: number
  /** The first operator's token. */
  readonly token: string
}

const LIMIT = 'ulimit -n "$1"; shift; exec "$@"'

/**
 * Launches `node src/server.ts` as users run it, on a free port, without waiting until it is ready.
 *
 * @param env the whole environment except PATH, PORT and the location of Node's compile cache; without RHONE_SWAP it sheds
 *   no load, because a busy machine would make it refuse requests of the test
 * @param descriptors maximum number of open files and sockets
 */
export function launchServer(t: TestContext, env: Record<string, string>, descriptors?: number): ServerProcess {
  const command = [process.execPath, join(root, 'src/server.ts')]
  const limited = descriptors === undefined ? command : ['/bin/sh', '-c', LIMIT, 'sh', String(descriptors), ...command]
  const [program = '', ...args] = limited
  const child = spawn(program, args, {
    cwd: root,
    env: {
      ...{ PATH: process.env.PATH, NODE_COMPILE_CACHE: join(root, '.cache'), PORT: '0', RHONE_SWAP: 'pressure=off' },
      ...env
    },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.after(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stderr.on('data', chunk => (stderr += chunk))
  return {
    child,
    exited: once(child, 'close').then(([code, signal]) => code ?? signal),
    logs: () => linesOf(stdout).map(line => JSON.parse(line)),
    said: () => stderr
  }
}

/** The same, ready to serve. */
export async function startServer(
  t: TestContext,
  env: Record<string, string>,
  descriptors?: number
): Promise<RunningServer> {
  const server = launchServer(t, env, descriptors)
  const url = await new Promise<string>((found, lost) => {
    server.child.stderr!.on('data', () => {
      const ready = /ready at (https?:\S+)\n/.exec(server.said())
      if (ready) found(ready[1]!)
    })
    server.exited.then(code => {
      const logs = server.logs().map(line => JSON.stringify(line))
      lost(new Error(`the server ended with ${code}:\n${[...logs, server.said()].join('\n')}`))
    })
  })
  const token = await readFile(join(env.DATA_DIR!, 'operator-token'), 'utf8').catch(() => '')
  return { ...server, url, port: Number(new URL(url).port), token: token.trim() }
}

/** The complete lines: the last one may be partial. */
function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1).filter(Boolean)
}

/** Sends raw bytes and collects the replies until the server closes, or `until` occurs. */
export async function exchange(port: number, bytes: string | Buffer, until?: RegExp): Promise<string> {
  const socket: Socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('error', () => {})
  socket.write(bytes)
  await new Promise<void>(done => {
    socket.on('data', chunk => {
      received += chunk.toString('latin1')
      if (until?.test(received)) socket.destroy()
    })
    socket.on('close', () => done())
  })
  return received
}

/** The number of processes with exactly this command line. */
export async function countOf(command: string): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'args='])
  return stdout.split('\n').filter(line => line.trim() === command).length
}
