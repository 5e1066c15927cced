import { type Client, createClient, Refused } from '../client.ts'
import { CommandError, defineCommand, type Input, UsageError } from '../command.ts'
import { locate } from '../connect.ts'
import { checkPlace, forgetLogin, keepLogin, type Login, readCredentials } from '../credentials.ts'
import { logInByBrowser } from './device-login.ts'

interface Me {
  readonly username: string
}

const SCOPES = ['read', 'deploy', 'admin']

export const login = defineCommand({
  name: 'login',
  summary: 'Log in to a server, by browser or with a token, and store the token for this user.',
  examples: [
    'rhone login',
    'rhone login --url https://rhone.example.com',
    'rhone login --url https://rhone.example.com --token - < token.txt'
  ],
  options: {
    scope: {
      type: 'string',
      value: SCOPES.join('|'),
      description: 'The highest scope of the token. Default: admin, all that you may do.'
    }
  },
  forDeployers: true,
  async run(input) {
    const { scope = 'admin' } = input.options
    if (!SCOPES.includes(scope)) throw new UsageError(`--scope: "${scope}" is not one of ${SCOPES.join(', ')}`)
    const variables = await input.variables()
    // Checked now: a token that cannot be stored should not be created.
    checkPlace(variables)
    const { url } = await locate(input, { isLogin: true })
    const { origin } = new URL(url)
    const before = (await readCredentials(variables).catch(() => undefined))?.servers[origin]
    const given = await givenToken(input)
    const { token, tokenId } = given === null ? await logInByBrowser(input, url, [scope]) : { token: given }

    const client = clientOf(url, token)
    const { username } = await whoIs(client)
    const kept = { token, user: username, ...(tokenId !== undefined && { tokenId }) }
    const path = await keepLogin(variables, origin, kept).catch(async error => {
      const left = await revoke(client, kept)
      throw new CommandError(`the login cannot be saved: ${(error as Error).message}${left}`)
    })
    input.note(`Logged in to ${url} as ${username}; the token is stored in ${path}`)
    if (before !== undefined && before.token !== token) await revoke(clientOf(url, before.token), before)
    return undefined
  }
})

const clientOf = (url: string, token: string) => createClient({ url, isLocal: false, token: async () => token })

async function whoIs(client: Client): Promise<Me> {
  try {
    return await client.request<Me>('GET', '/api/v1/me')
  } catch (error) {
    if (error instanceof Refused && error.status === 401)
      throw new CommandError(
        `${client.url} rejects this token: it is mistyped, revoked, expired, or belongs to another server`
      )
    throw error
  }
}

/** The token from `--token` or `RHONE_TOKEN`; null when there is none. */
async function givenToken(input: Pick<Input, 'config' | 'read'>): Promise<string | null> {
  const { client } = await input.config()
  if (client.token !== '-') return client.token
  const token = (await input.read()).trim()
  if (token === '') throw new UsageError('--token -: standard input is empty')
  return token
}

/** Revokes a token that a login created. @returns what to add to a message if that failed */
async function revoke(client: Client, { tokenId }: Login): Promise<string> {
  if (tokenId === undefined) return ''
  try {
    await client.request('DELETE', `/api/v1/me/tokens/${tokenId}`)
    return ''
  } catch (error) {
    // Revoked or expired already.
    if (error instanceof Refused && (error.status === 401 || error.status === 404)) return ''
    return `; its token stays valid until you revoke it in your settings (${(error as Error).message})`
  }
}

export const logout = defineCommand({
  name: 'logout',
  summary: 'Log out of a server, and revoke the token if rhone login created it.',
  examples: ['rhone logout', 'rhone logout --url https://rhone.example.com'],
  forDeployers: true,
  async run(input) {
    const variables = await input.variables()
    const { url } = await locate(input, { isLogin: true })
    const { origin } = new URL(url)
    const login = (await readCredentials(variables)).servers[origin]
    if (login === undefined) throw new CommandError(`you are not logged in to ${origin}`)
    await forgetLogin(variables, origin)
    input.note(`Logged out of ${origin}${await revoke(clientOf(url, login.token), login)}`)
    if (login.tokenId === undefined)
      input.note(
        'The token itself stays valid; rhone token list shows your tokens, and rhone token revoke revokes one.'
      )
    return undefined
  }
})
