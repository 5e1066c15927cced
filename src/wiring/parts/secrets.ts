import { noteSecrets } from '../../domain/secrets/ledger.ts'
import type { Part } from '../../kernel/part.ts'
import { auditLogOf } from '../audit-log.ts'
import { secretsOf } from '../secrets.ts'

const secrets: Part = {
  name: 'secrets',
  startSteps: (config, { db }) => [
    { name: 'secrets', run: () => noteSecrets(db, auditLogOf(config), config.keys.encryption!, secretsOf(config)) }
  ]
}

export default secrets
