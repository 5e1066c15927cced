import { commandLineActor } from './actor.ts'
import { auditLogFor } from './audit-log.ts'
import { listAll } from './client.ts'
import { defineCommand, type Input } from './command.ts'
import { connect } from './connect.ts'
import { facts, table } from './format.ts'

const HOW = 'The owner sets a password with this code at /auth/reset, within 24 hours.'

export const userCreate = defineCommand({
  name: 'user create',
  examples: ['rhone user create ada', 'rhone user create ada --operator'],
  summary: 'Create an account, and print the code with which its owner sets the password.',
  args: ['<login>'],
  options: {
    operator: { type: 'boolean', description: 'Make it an operator of the whole platform at once.' }
  },
  printsData: true,
  async run(input) {
    await warnWhenOff(input)
    const { withDatabase } = await import('./database.ts')
    const { createLocalAccount } = await import('../domain/accounts/local-accounts.ts')
    const { grantOperator } = await import('../domain/accounts/operators.ts')
    const by = commandLineActor()
    const log = await auditLogFor(input)
    const { defaultPlan } = await input.config()
    const { user, team, code } = await withDatabase(input, db =>
      db.transaction(async tx => {
        const created = await createLocalAccount(tx, log, input.args[0]!, by, defaultPlan)
        if (input.options.operator) await grantOperator(tx, log, created.user.id, { name: by })
        return created
      })
    )
    input.note(facts({ id: user.id, login: user.username, team: team.slug }))
    input.note(HOW)
    return { data: { id: user.id, login: user.username, team: team.slug, code }, text: code }
  }
})

interface User {
  readonly id: string
  readonly username: string
  readonly email: string | null
  readonly isOperator: boolean
  readonly createdAt: string
}

export const userList = defineCommand({
  name: 'user list',
  summary: 'List the users of the platform; for operators.',
  examples: ['rhone user list --json'],
  printsData: true,
  async run(input) {
    const users = await listAll<User>(await connect(input), '/admin/users')
    const rows = users.map(({ id, username, email, isOperator, createdAt }) => [
      id,
      username,
      email ?? '-',
      isOperator ? 'operator' : '-',
      createdAt
    ])
    return { data: users, text: table(['id', 'name', 'email', 'role', 'since'], rows) }
  }
})

export const userReset = defineCommand({
  name: 'user reset',
  examples: ['rhone user reset ada'],
  summary: 'Print a code with which the owner of an account sets a new password.',
  args: ['<login>'],
  printsData: true,
  async run(input) {
    await warnWhenOff(input)
    const { withDatabase } = await import('./database.ts')
    const { issueResetCode } = await import('../domain/accounts/local-accounts.ts')
    const log = await auditLogFor(input)
    const { user, code } = await withDatabase(input, db =>
      db.transaction(tx => issueResetCode(tx, log, input.args[0]!, commandLineActor()))
    )
    input.note(HOW)
    return { data: { id: user.id, login: user.username, code }, text: code }
  }
})

async function warnWhenOff({ config, note }: Pick<Input, 'config' | 'note'>): Promise<void> {
  const { localAccounts } = await config()
  if (!localAccounts) note('LOCAL_ACCOUNTS is not true here: a server with these settings does not accept passwords.')
}
