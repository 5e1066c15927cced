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
  /** Path of the token file, or where it was written when the account was created. */
  readonly path: string
  /** Whether this instance has just created the account. */
  readonly created: boolean
}

/**
 * Ensures that a new server has an operator, and leaves the operator's token in a file that only its own user can read.
 *
 * Of any number of instances that start on an empty database, exactly one creates the account. The token is written to
 * disk under a temporary name before it goes into the database, so that after a crash in between the next start finds
 * the file. If the token is valid, the file gets its final name; otherwise it is removed.
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

/** Completes what an earlier start began. */
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

/** Another instance on the same directory may have done this already. */
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
