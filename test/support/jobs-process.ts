import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface WorkerProcess {
  /** Resolves when it runs a job. */
  readonly hasBegun: Promise<unknown>
  kill(): void
}

/** A separate process that takes a job of the queue and never finishes it. */
export async function startWorkerProcess(
  scope: { after(release: () => void): void },
  url: string,
  queue: string
): Promise<WorkerProcess> {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, 'jobs-worker.ts'), url, queue], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
  scope.after(() => void child.kill('SIGKILL'))
  await once(child, 'message')
  return { hasBegun: once(child, 'message'), kill: () => void child.kill('SIGKILL') }
}
