import { eraseDueAccounts } from '../../domain/privacy/leaving.ts'
import type { Part } from '../../kernel/part.ts'
import { auditLogOf } from '../audit-log.ts'
import { ensureFirstOperator } from '../first-operator.ts'
import { MINUTE } from './intervals.ts'

const accounts: Part = {
  name: 'accounts',
  startSteps: (config, { db }) => [
    {
      name: 'operator',
      run: () => ensureFirstOperator(db, auditLogOf(config), config.dataDir, config.defaultPlan)
    }
  ],
  chores: (config, { db, log }) => [
    {
      name: 'account-erasure',
      every: 10 * MINUTE,
      async run(signal) {
        const erased = await eraseDueAccounts(db, auditLogOf(config), signal)
        if (erased > 0) log.info({ erased }, 'accounts erased')
      }
    }
  ]
}

export default accounts
