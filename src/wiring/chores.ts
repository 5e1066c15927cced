import type { FastifyInstance } from 'fastify'
import type { Chore } from '../../plugins/chores.ts'
import type { Keyring } from '../config/keyring.ts'
import { CheckpointSigner } from '../domain/audit/chain.ts'
import { hasUnsealed, sealBatch, signCheckpoint } from '../domain/audit/seal.ts'
import { ensurePartitions } from '../domain/base/partitions.ts'
import { eraseDueAccounts } from '../domain/privacy/leaving.ts'
import { retireAudit, sweep } from '../domain/privacy/retention.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const CHECKPOINT_INTERVAL = MINUTE

/**
 * What the server does by itself. Any instance may do any of it at any time: each step is a transaction, and where two
 * must not meet, the first has a lock and the other leaves it to that one. All days and months are UTC.
 */
export function choresOf(app: FastifyInstance, signingKeys: Keyring): Chore[] {
  const { db } = app
  const signer = new CheckpointSigner(signingKeys)
  return [
    sealing(app, signer),
    { name: 'partitions', every: HOUR, run: async () => void (await ensurePartitions(db)) },
    {
      name: 'account-erasure',
      every: 10 * MINUTE,
      async run(signal) {
        const erased = await eraseDueAccounts(db, signal)
        if (erased > 0) app.log.info({ erased }, 'accounts erased')
      }
    },
    {
      name: 'retention',
      every: HOUR,
      async run(signal) {
        const removed = await sweep(db, signal)
        const partitions = await retireAudit(db, signer)
        if (removed > 0 || partitions.length > 0) app.log.info({ removed, partitions }, 'retention')
      }
    }
  ]
}

/** A checkpoint is logged, so that the log, wherever it is kept, proves what the audit log held then. */
function sealing(app: FastifyInstance, signer: CheckpointSigner): Chore {
  let signNext = 0
  return {
    name: 'audit-seal',
    every: SECOND,
    async run(signal) {
      if (await hasUnsealed(app.db)) while (!signal.aborted && (await sealBatch(app.db)) > 0);
      if (performance.now() < signNext) return
      signNext = performance.now() + CHECKPOINT_INTERVAL
      const signed = await signCheckpoint(app.db, signer, CHECKPOINT_INTERVAL)
      if (signed === undefined) return
      const { seq, digest, keyId, signature } = signed
      const proof = { seq, digest: digest.toString('hex'), keyId, signature: signature.toString('base64') }
      app.log.info({ checkpoint: proof }, 'audit checkpoint')
    }
  }
}
