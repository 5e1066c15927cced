import type { FastifyInstance } from 'fastify'
import type { Chore } from '../../../plugins/chores.ts'
import { renewErasures } from '../../domain/audit/erase.ts'
import { AuditKeys } from '../../domain/audit/keys.ts'
import { hasUnsealed, sealAll, signCheckpoint, unsealedAge } from '../../domain/audit/seal.ts'
import { retireAudit, sweep } from '../../domain/privacy/retention.ts'
import type { Part } from '../../kernel/part.ts'
import { HOUR, MINUTE, SECOND } from './intervals.ts'

const CHECKPOINT_INTERVAL = MINUTE
/** Age in seconds by which rows should long have been sealed. */
const LONGEST_WAIT = 60

/**
 * Seals the audit log and removes what is past its retention. Any instance may do either at any time: each step is a
 * transaction, and where two must not overlap, the lock holder does the work. Days and months are UTC.
 */
const audit: Part = {
  name: 'audit',
  chores({ keys }, app) {
    const auditKeys = new AuditKeys(keys.signing!)
    return [sealing(app, auditKeys), retention(app, auditKeys)]
  },
  gauges: (_config, { db }) => [
    {
      name: 'rhone_audit_unsealed_age_seconds',
      help: 'Age of the oldest audit row without a link in the chain; the same from every instance.',
      read: () => unsealedAge(db)
    }
  ]
}

/** Checkpoints are logged, so that the log, wherever it is stored, proves what the audit log contained at the time. */
function sealing(app: FastifyInstance, keys: AuditKeys): Chore {
  let signNext = 0
  return {
    name: 'audit-seal',
    every: SECOND,
    async run(signal) {
      if (await hasUnsealed(app.db)) await sealAll(app.db, keys, signal)
      if (performance.now() < signNext) return
      signNext = performance.now() + CHECKPOINT_INTERVAL
      const seconds = await unsealedAge(app.db)
      if (seconds > LONGEST_WAIT) app.log.error({ seconds }, 'audit rows cannot be sealed')
      const signed = await signCheckpoint(app.db, keys, CHECKPOINT_INTERVAL)
      if (signed === undefined) return
      const { seq, digest, keyId, signature } = signed
      const proof = { seq, digest: digest.toString('hex'), keyId, signature: signature.toString('base64') }
      app.log.info({ checkpoint: proof }, 'audit checkpoint')
    }
  }
}

function retention(app: FastifyInstance, keys: AuditKeys): Chore {
  return {
    name: 'retention',
    every: HOUR,
    async run(signal) {
      const removed = await sweep(app.db, signal)
      const partitions = await retireAudit(app.db, keys)
      while (!signal.aborted && (await renewErasures(app.db, keys)) > 0);
      if (removed > 0 || partitions.length > 0) app.log.info({ removed, partitions }, 'retention')
    }
  }
}

export default audit
