import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeUser {
  id: number
  login: string
  avatar_url: string
  emails: { email: string; primary: boolean; verified: boolean; visibility: string | null }[]
}

interface Grant {
  user: FakeUser
  redirectUri: string
  challenge: string | null
  scope: string
}

export interface FakeGithub {
  readonly url: string
  readonly clientId: string
  readonly clientSecret: string
  /** Who is signed in at GitHub, in whatever browser comes. */
  user: FakeUser
  /** What they do when they are asked for permission. */
  decision: 'authorize' | 'deny'
  /** Breaks the routes whose path begins so, with this status; 0 hangs up. */
  outage: { path: string; status: number } | null
  /** Every request that came. */
  readonly requests: { method: string; path: string; headers: IncomingMessage['headers'] }[]
  readonly redirectUris: string[]
  close(): Promise<void>
}

const DOCS = 'https://docs.github.com/rest'

export function fakeUser(id: number, login: string): FakeUser {
  const emails = [
    { email: `${login}@old.example`, primary: false, verified: true, visibility: null },
    { email: `${login}@example.com`, primary: true, verified: true, visibility: 'private' }
  ]
  return { id, login, avatar_url: `https://avatars.githubusercontent.com/u/${id}?v=4`, emails }
}

/** A GitHub of one OAuth app, over HTTP, with the forms and the errors of the real one. */
export async function startFakeGithub(): Promise<FakeGithub> {
  const codes = new Map<string, Grant>()
  const tokens = new Map<string, Grant>()
  const server = createServer((request, response) => {
    handle(request, response).catch(error => send(response, 500, { message: String(error) }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const github: FakeGithub = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    clientId: 'Iv1.0123456789abcdef',
    clientSecret: randomBytes(20).toString('hex'),
    user: fakeUser(583_231, 'octocat'),
    decision: 'authorize',
    outage: null,
    requests: [],
    redirectUris: [],
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const url = new URL(request.url!, github.url)
    github.requests.push({ method: request.method!, path: url.pathname, headers: request.headers })
    if (github.outage !== null && url.pathname.startsWith(github.outage.path)) {
      if (github.outage.status === 0) return request.socket.destroy()
      return send(response, github.outage.status, { message: 'Server Error' })
    }
    switch (`${request.method} ${url.pathname}`) {
      case 'GET /login/oauth/authorize':
        return authorize(url.searchParams, response)
      case 'POST /login/oauth/access_token':
        return exchange(new URLSearchParams(await bodyOf(request)), request, response)
      case 'GET /user':
        return answer(request, response, 'read:user', ({ user: { emails: _, ...user } }) => ({ ...user, email: null }))
      case 'GET /user/emails':
        return answer(request, response, 'user:email', ({ user }) => user.emails)
    }
    return send(response, 404, { message: 'Not Found', documentation_url: DOCS, status: '404' })
  }

  function authorize(query: URLSearchParams, response: ServerResponse): unknown {
    const redirectUri = query.get('redirect_uri') ?? ''
    const state = query.get('state') ?? ''
    if (query.get('client_id') !== github.clientId) return send(response, 404, { message: 'Not Found' })
    if (!github.redirectUris.includes(redirectUri))
      return redirect(response, github.redirectUris[0]!, {
        error: 'redirect_uri_mismatch',
        error_description: 'The redirect_uri MUST match the registered callback URL for this application.',
        state
      })
    if (github.decision === 'deny')
      return redirect(response, redirectUri, {
        error: 'access_denied',
        error_description: 'The user has denied your application access.',
        state
      })
    const code = randomBytes(10).toString('hex')
    const isPkce = query.get('code_challenge_method') === 'S256'
    const challenge = isPkce ? query.get('code_challenge') : null
    codes.set(code, { user: github.user, redirectUri, challenge, scope: query.get('scope') ?? '' })
    return redirect(response, redirectUri, { code, state })
  }

  function exchange(form: URLSearchParams, request: IncomingMessage, response: ServerResponse): unknown {
    const fail = (error: string, description: string) =>
      send(response, 200, { error, error_description: description, error_uri: `${DOCS}#${error}` })
    if (request.headers.accept !== 'application/json')
      return send(response, 406, { message: 'the fake speaks JSON only' })
    if (form.get('client_id') !== github.clientId || form.get('client_secret') !== github.clientSecret)
      return fail('incorrect_client_credentials', 'The client_id and/or client_secret passed are incorrect.')
    const grant = codes.get(form.get('code') ?? '')
    codes.delete(form.get('code') ?? '')
    const verifier = form.get('code_verifier') ?? ''
    const isProven =
      grant?.challenge == null || createHash('sha256').update(verifier).digest('base64url') === grant.challenge
    if (grant === undefined || !isProven)
      return fail('bad_verification_code', 'The code passed is incorrect or expired.')
    if (form.get('redirect_uri') !== grant.redirectUri)
      return fail(
        'redirect_uri_mismatch',
        'The redirect_uri MUST match the registered callback URL for this application.'
      )
    const token = `gho_${randomBytes(18).toString('hex')}`
    tokens.set(token, grant)
    return send(response, 200, { access_token: token, token_type: 'bearer', scope: grant.scope.replaceAll(' ', ',') })
  }

  function answer(
    request: IncomingMessage,
    response: ServerResponse,
    scope: string,
    body: (grant: Grant) => unknown
  ): unknown {
    if (request.headers['user-agent'] === undefined)
      return send(response, 403, { message: 'Request forbidden by administrative rules.' })
    const [, token = ''] = /^(?:Bearer|token) (.+)$/i.exec(request.headers.authorization ?? '') ?? []
    const grant = tokens.get(token)
    if (grant === undefined)
      return send(response, 401, { message: 'Bad credentials', documentation_url: DOCS, status: '401' })
    if (!grant.scope.split(' ').includes(scope))
      return send(response, 404, { message: 'Not Found', documentation_url: DOCS, status: '404' })
    return send(response, 200, body(grant))
  }

  return github
}

function redirect(response: ServerResponse, target: string, query: Record<string, string>): unknown {
  const url = new URL(target)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  return response.writeHead(302, { location: url.href }).end()
}

function send(response: ServerResponse, status: number, body: unknown): unknown {
  return response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body))
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
