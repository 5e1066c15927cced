import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { getCompileCacheDir } from 'node:module'
import { dirname, extname } from 'node:path'
import type { Config } from '../config/index.ts'
import type { ArchiveState } from '../workflows/archive/state.ts'
import type { Drill } from '../workflows/backups/drill.ts'
import type { BackupRunner } from '../workflows/backups/index.ts'
import type { Descriptor } from '../workflows/backups/manifest.ts'
import type { BackupSettings } from '../workflows/backups/settings.ts'
import type { BackupAnswer, BackupWork } from './backup-work.ts'
import { backupSettingsOf } from './backups.ts'
import { primaryUrlOf } from './primary-database.ts'

const ENTRY = new URL(`./backup-process${extname(import.meta.filename)}`, import.meta.url)
/** Megabytes for JavaScript objects; the rows are in buffers outside of it. */
const HEAP = 96
/** Megabytes for each half of the young ones: buffers that they hold are freed as often as it fills. */
const YOUNG = 2
/** Milliseconds for an aborted process to clean up. */
const GRACE = 10_000

/** Runs each job in a process of its own, which gets its settings in a message: no argument shows a secret. */
export function backupRunner(config: Config): BackupRunner {
  const settings = async () => backupSettingsOf(config, await primaryUrlOf(config, config.database.directUrl!))
  return {
    create: async signal => (await run({ kind: 'create', settings: await settings() }, signal)) as Descriptor,
    drill: async signal =>
      (await run({ kind: 'drill', settings: await settings(), dataDir: config.dataDir }, signal)) as Drill
  }
}

/** Makes a backup on behalf of a command. */
export async function createApart(settings: BackupSettings, signal: AbortSignal): Promise<Descriptor> {
  return (await run({ kind: 'create', settings }, signal)) as Descriptor
}

/** Archives the embedded database in a process of its own. */
export function archiveRunner(config: Config): (signal: AbortSignal) => Promise<ArchiveState> {
  const { directUrl, archive } = config.database
  return async signal => {
    const settings = {
      ...(await backupSettingsOf(config, directUrl!)),
      replicationUrl: archive!.url,
      directory: archive!.directory,
      limit: config.backups.waitingLimit,
      keepDays: config.backups.keep.days
    }
    return (await run({ kind: 'archive', settings }, signal)) as ArchiveState
  }
}

async function run(work: BackupWork, signal: AbortSignal): Promise<Descriptor | Drill | ArchiveState> {
  signal.throwIfAborted()
  const child = fork(ENTRY, {
    env: compiledBefore(),
    execArgv: [`--max-old-space-size=${HEAP}`, `--max-semi-space-size=${YOUNG}`],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc']
  })
  const complaint = lastWordsOf(child)
  const stop = () => {
    if (child.connected) child.disconnect()
    setTimeout(() => child.kill('SIGKILL'), GRACE).unref()
  }
  signal.addEventListener('abort', stop)
  try {
    let answer: BackupAnswer | undefined
    child.once('message', message => {
      answer = message as BackupAnswer
    })
    child.send(work)
    const [code, by] = await once(child, 'close')
    signal.throwIfAborted()
    if (answer === undefined) throw new Error(`the backup process ended (${by ?? code}): ${complaint()}`)
    if (!answer.ok) throw new Error(answer.message)
    return answer.result
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** The compiled code that this process keeps, if it does: without it, a small backup is mostly compiling. */
function compiledBefore(): Record<string, string> {
  const directory = getCompileCacheDir()
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) }
}

const LONGEST_COMPLAINT = 2_000

function lastWordsOf(child: ChildProcess): () => string {
  let text = ''
  child.stderr?.on('data', chunk => {
    text = (text + chunk).slice(-LONGEST_COMPLAINT)
  })
  return () => text.trim()
}
