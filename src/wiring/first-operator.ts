import { access, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plan } from '../../drizzle/schema.ts'
import { hashToken } from '../../plugins/lib/token.ts'
import { createDataDir } from '../config/data-dir.ts'
import { createFirstOperator, hasUsers, lockOperators } from '../domain/accounts/operators.ts'
import { tokenVerifier } from '../domain/accounts/tokens.ts'
import type { AuditLog } from '../domain/audit/log.ts'
import type { Db } from '../domain/base/db.ts'

export interface FirstOperator {
  /** Where the token is, or was put when the account was made. */
  readonly path: string
  /** Whether the account was made now, by this instance. */
  readonly created: boolean
}

/**
 * Sees to it that a new server has an operator, whose token it leaves in a file that only its own user can read.
 *
 * Of any number of instances that start on an empty database, one makes the account. The token is on disk before it is in
 * the database, under another name: a crash in between leaves a file that the next start finds. Then the token either
 * counts, and the file gets its name, or it does not, and the file is removed.
 */
export async function ensureFirstOperator(db: Db, log: AuditLog, dataDir: string, plan: Plan): Promise<FirstOperator> {
  const path = join(dataDir, 'operator-token')
  const pending = `${path}.pending`
  if ((await hasUsers(db)) && !(await exists(pending))) return { path, created: false }

  await createDataDir(dataDir)
  const created = await db.transaction(async tx => {
    await lockOperators(tx)
    if (await hasUsers(tx)) {
      await settle(tx, pending, path)
      return false
    }
    await writeSecret(pending, await createFirstOperator(tx, log, plan))
    return true
  })
  if (created) await publish(pending, path)
  return { path, created }
}

/** Ends what a start before this one has begun. */
async function settle(tx: Db, pending: string, path: string): Promise<void> {
  const token = await readFile(pending, 'utf8').catch(ignoreMissing)
  if (token === undefined) return
  const owner = await tokenVerifier(() => tx).verify(hashToken(token.trim()))
  if (owner === null) await rm(pending, { force: true })
  else await publish(pending, path)
}

async function writeSecret(path: string, text: string): Promise<void> {
  await rm(path, { force: true })
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(`${text}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Another instance on the same directory may have done it in the meantime. */
async function publish(pending: string, path: string): Promise<void> {
  await rename(pending, path).catch(ignoreMissing)
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false
  )
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
