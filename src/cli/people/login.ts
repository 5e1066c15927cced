import { type Client, createClient, Refused } from '../client.ts'
import { CommandError, defineCommand, type Input, UsageError } from '../command.ts'
import { locate } from '../connect.ts'
import { forgetLogin, keepLogin, readCredentials } from '../credentials.ts'

interface Me {
  readonly username: string
}

export const login = defineCommand({
  name: 'login',
  summary: 'Log in to a server with a token, and store it for this user.',
  examples: ['rhone login --url https://rhone.example.com --token - < token.txt'],
  forDeployers: true,
  async run(input) {
    const { url } = await locate(input, { isLogin: true })
    const token = await tokenFor(input)
    const client = createClient({ url, isLocal: false, token: async () => token })
    const { username } = await whoIs(client)
    const path = await keepLogin(await input.variables(), new URL(url).origin, { token, user: username })
    input.note(`Logged in to ${url} as ${username}; the token is kept in ${path}`)
    return undefined
  }
})

async function whoIs(client: Client): Promise<Me> {
  try {
    return await client.request<Me>('GET', '/api/v1/me')
  } catch (error) {
    if (error instanceof Refused && error.status === 401)
      throw new CommandError(
        `${client.url} does not take this token: it is mistyped, revoked, expired, or of another server`
      )
    throw error
  }
}

async function tokenFor(input: Pick<Input, 'config' | 'read'>): Promise<string> {
  const { client } = await input.config()
  const token = client.token === '-' ? (await input.read()).trim() : client.token
  if (token) return token
  throw new UsageError(
    'which token? Make one in the settings of the server, and say --token -, which reads it from standard input'
  )
}

export const logout = defineCommand({
  name: 'logout',
  summary: 'Forget the login to a server, and revoke its token if login had it made.',
  forDeployers: true,
  async run(input) {
    const variables = await input.variables()
    const { url } = await locate(input, { isLogin: true })
    const { origin } = new URL(url)
    const login = (await readCredentials(variables)).servers[origin]
    if (login === undefined) throw new CommandError(`you are not logged in to ${origin}`)
    await forgetLogin(variables, origin)
    input.note(`Logged out of ${origin}`)
    if (login.tokenId === undefined) {
      input.note('The token itself stays valid; rhone token list shows your tokens, and rhone token revoke ends one.')
      return undefined
    }
    const client = createClient({ url, isLocal: false, token: async () => login.token })
    await client.request('DELETE', `/api/v1/me/tokens/${login.tokenId}`).catch(error => {
      input.note(`Its token could not be revoked: ${(error as Error).message}`)
    })
    return undefined
  }
})
