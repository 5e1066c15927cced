import { commandLineActor } from './actor.ts'
import { auditLogFor } from './audit-log.ts'
import { defineCommand, type Input } from './command.ts'

const args = ['<user>']

export const operatorGrant = defineCommand({
  name: 'operator grant',
  examples: ['rhone operator grant ada'],
  summary: 'Make a user (by name or id) an operator of the platform.',
  args,
  async run(input) {
    const user = await change(input, 'grantOperator')
    input.note(`${user.username} (${user.id}) is an operator`)
    return undefined
  }
})

export const operatorRevoke = defineCommand({
  name: 'operator revoke',
  examples: ['rhone operator revoke ada'],
  summary: 'Make an operator an ordinary user, on every instance within seconds. The last operator cannot be revoked.',
  args,
  async run(input) {
    const user = await change(input, 'revokeOperator')
    input.note(`${user.username} (${user.id}) is not an operator`)
    return undefined
  }
})

/** Writes to the database, because no operator exists yet who could appoint the first one over HTTP. */
async function change(input: Input, how: 'grantOperator' | 'revokeOperator') {
  const { withDatabase } = await import('./database.ts')
  const operators = await import('../domain/accounts/operators.ts')
  const log = await auditLogFor(input)
  return withDatabase(input, db => operators[how](db, log, input.args[0]!, { name: commandLineActor() }))
}
