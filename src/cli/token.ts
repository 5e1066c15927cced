import { listAll } from './client.ts'
import { defineCommand } from './command.ts'
import { connect } from './connect.ts'
import { facts, parseMoment, table } from './format.ts'

interface Token {
  readonly id: string
  readonly name: string
  readonly prefix: string
  readonly scopes: readonly string[]
  readonly expiresAt: string | null
  readonly lastUsedAt: string | null
}

const PATH = '/api/v1/me/tokens'

export const tokenCreate = defineCommand({
  name: 'token create',
  examples: ['rhone token create ci --scope deploy --expires 90d'],
  summary: 'Create an API token and print it once.',
  args: ['<name>'],
  options: {
    scope: {
      type: 'string',
      multiple: true,
      value: 'read|deploy|admin',
      description: 'Its scope; repeat for more than one. Default: read.'
    },
    expires: { type: 'string', value: '<moment>', description: 'When it expires: 30d, or a date. Default: never.' }
  },
  printsData: true,
  async run(input) {
    const { args, options, note } = input
    const expiresAt = options.expires === undefined ? undefined : parseMoment(options.expires)
    const created = await (await connect(input)).request<Token & { token: string }>('POST', PATH, {
      name: args[0],
      scopes: options.scope ?? ['read'],
      ...(expiresAt && { expiresAt })
    })
    note(facts({ id: created.id, scopes: created.scopes.join(' '), expires: created.expiresAt ?? 'never' }))
    note('The token is not stored in plain text: it is shown only once.')
    return { data: created, text: created.token }
  }
})

export const tokenList = defineCommand({
  name: 'token list',
  examples: ['rhone token list --json'],
  summary: 'List your API tokens.',
  printsData: true,
  async run(input) {
    const tokens = await listAll<Token>(await connect(input), PATH)
    const rows = tokens.map(token => [
      token.id,
      token.name,
      `${token.prefix}...`,
      token.scopes.join(' '),
      token.expiresAt ?? 'never',
      token.lastUsedAt ?? 'never'
    ])
    return { data: tokens, text: table(['id', 'name', 'token', 'scopes', 'expires', 'last used'], rows) }
  }
})

export const tokenRevoke = defineCommand({
  name: 'token revoke',
  examples: ['rhone token revoke 0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a'],
  summary: 'Revoke one of your API tokens, on every instance within seconds.',
  args: ['<id>'],
  async run(input) {
    const { args, note } = input
    await (await connect(input)).request('DELETE', `${PATH}/${encodeURIComponent(args[0]!)}`)
    note(`revoked ${args[0]}`)
    return undefined
  }
})
