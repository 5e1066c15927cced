import type { FastifyInstance } from 'fastify'
import type { Chore } from '../../../plugins/chores.ts'
import { CheckpointSigner } from '../../domain/audit/chain.ts'
import { hasUnsealed, sealBatch, signCheckpoint } from '../../domain/audit/seal.ts'
import { retireAudit, sweep } from '../../domain/privacy/retention.ts'
import type { Part } from '../../kernel/part.ts'
import { HOUR, MINUTE, SECOND } from './intervals.ts'

const CHECKPOINT_INTERVAL = MINUTE

/**
 * Seals the audit log, and removes what is past its retention. Any instance may do either at any time: each step is a
 * transaction, and where two must not meet, the one that has the lock does the work. Days and months are UTC.
 */
const audit: Part = {
  name: 'audit',
  chores({ keys }, app) {
    const signer = new CheckpointSigner(keys.signing!)
    return [sealing(app, signer), retention(app, signer)]
  }
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

function retention(app: FastifyInstance, signer: CheckpointSigner): Chore {
  return {
    name: 'retention',
    every: HOUR,
    async run(signal) {
      const removed = await sweep(app.db, signal)
      const partitions = await retireAudit(app.db, signer)
      if (removed > 0 || partitions.length > 0) app.log.info({ removed, partitions }, 'retention')
    }
  }
}

export default audit
