import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { bodyOf, DOCS, redirect, refuse, send } from './http.ts'
import type { Grant, World } from './world.ts'

/** GitHub's website, where people authorize an app. */
export async function answerSite(world: World, request: IncomingMessage, response: ServerResponse, url: URL) {
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /login/oauth/authorize':
      authorize(world, url.searchParams, response)
      return true
    case 'POST /login/oauth/access_token':
      exchange(world, new URLSearchParams(await bodyOf(request)), request, response)
      return true
    case `GET /apps/${world.app.slug}/installations/new`:
      install(world, url.searchParams.get('state') ?? '', response)
      return true
  }
  return false
}

function newCode(world: World, grant: Omit<Grant, 'user'>): string {
  const code = randomBytes(10).toString('hex')
  world.codes.set(code, { user: world.user, ...grant })
  return code
}

function authorize(world: World, query: URLSearchParams, response: ServerResponse): unknown {
  const redirectUri = query.get('redirect_uri') ?? ''
  const state = query.get('state') ?? ''
  if (query.get('client_id') !== world.clientId) return refuse(response, 404, 'Not Found')
  if (!world.redirectUris.includes(redirectUri))
    return redirect(response, world.redirectUris[0]!, {
      error: 'redirect_uri_mismatch',
      error_description: 'The redirect_uri MUST match the registered callback URL for this application.',
      state
    })
  if (world.decision === 'deny')
    return redirect(response, redirectUri, {
      error: 'access_denied',
      error_description: 'The user has denied your application access.',
      state
    })
  const isPkce = query.get('code_challenge_method') === 'S256'
  const challenge = isPkce ? query.get('code_challenge') : null
  const code = newCode(world, { redirectUri, challenge, scope: query.get('scope') ?? '' })
  redirect(response, redirectUri, { code, state })
}

/** A user installs the App, and returns. */
function install(world: World, state: string, response: ServerResponse): unknown {
  const { installing, setupUrl, requestsAuthorization } = world.app
  const stated: Record<string, string> = state === '' ? {} : { state }
  const isKnown = world.installations.includes(installing!)
  if (installing !== null && !isKnown) world.installations.push(installing)
  const code = requestsAuthorization
    ? { code: newCode(world, { redirectUri: null, challenge: null, scope: '' }) }
    : undefined
  if (installing === null) return redirect(response, setupUrl, { ...code, setup_action: 'request', ...stated })
  redirect(response, setupUrl, {
    ...code,
    installation_id: String(installing.id),
    setup_action: isKnown ? 'update' : 'install',
    ...stated
  })
}

function exchange(world: World, form: URLSearchParams, request: IncomingMessage, response: ServerResponse): unknown {
  const fail = (error: string, description: string) =>
    send(response, 200, { error, error_description: description, error_uri: `${DOCS}#${error}` })
  if (request.headers.accept !== 'application/json') return refuse(response, 406, 'the fake speaks JSON only')
  if (form.get('client_id') !== world.clientId || !world.clientSecrets.includes(form.get('client_secret') ?? ''))
    return fail('incorrect_client_credentials', 'The client_id and/or client_secret passed are incorrect.')
  const grant = world.codes.get(form.get('code') ?? '')
  world.codes.delete(form.get('code') ?? '')
  const verifier = form.get('code_verifier') ?? ''
  const isProven =
    grant?.challenge == null || createHash('sha256').update(verifier).digest('base64url') === grant.challenge
  if (grant === undefined || !isProven) return fail('bad_verification_code', 'The code passed is incorrect or expired.')
  if (form.has('redirect_uri') && form.get('redirect_uri') !== grant.redirectUri)
    return fail(
      'redirect_uri_mismatch',
      'The redirect_uri MUST match the registered callback URL for this application.'
    )
  const token = `${grant.scope === '' ? 'ghu' : 'gho'}_${randomBytes(18).toString('hex')}`
  world.userTokens.set(token, grant)
  send(response, 200, { access_token: token, token_type: 'bearer', scope: grant.scope.replaceAll(' ', ',') })
}
