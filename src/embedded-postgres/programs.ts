import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { killGroup } from '../../plugins/lib/processes.ts'

/** Passes on nothing from this server's environment, which holds secrets and PG* variables. */
const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' }

export interface ProgramResult {
  readonly ok: boolean
  readonly output: string
}

/** Spawns in a new session, so that Ctrl-C in the terminal does not reach the program before our drain has finished. */
export function spawnProgram(command: readonly string[], options: SpawnOptions): ChildProcess {
  const [file = '', ...args] = command
  return spawn(file, args, { cwd: '/', env: ENVIRONMENT, detached: true, ...options })
}

/**
 * Runs a program to completion and collects its output; `input` goes to standard input. Rejects only when `signal`
 * aborted it.
 */
export async function runProgram(launch: () => ChildProcess, input = '', signal?: AbortSignal): Promise<ProgramResult> {
  signal?.throwIfAborted()
  const result = await new Promise<ProgramResult>(resolve => {
    const printed: Buffer[] = []
    const fail = (error: Error) => resolve({ ok: false, output: error.message })
    try {
      const child = launch()
      const kill = () => child.pid && killGroup(child.pid)
      signal?.addEventListener('abort', kill)
      child.stdout?.on('data', chunk => printed.push(chunk))
      child.stderr?.on('data', chunk => printed.push(chunk))
      // A program that exits without reading its input is judged by its exit code.
      child.stdin?.on('error', () => {}).end(input)
      child.once('error', fail)
      child.once('close', code => {
        signal?.removeEventListener('abort', kill)
        resolve({ ok: code === 0, output: Buffer.concat(printed).toString().trim() })
      })
    } catch (error) {
      // spawn() throws some errors synchronously: for example, for a uid that this process may not use.
      fail(error as Error)
    }
  })
  signal?.throwIfAborted()
  return result
}
