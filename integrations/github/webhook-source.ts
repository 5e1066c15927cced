import { AppError, errors } from '../../plugins/lib/errors.ts'
import { fromLatest, type Latest, latest } from '../../plugins/lib/latest.ts'
import type { RefusedDelivery, WebhookSource } from '../../plugins/webhooks/source.ts'
import { isHexSignature, signatureCheck } from './signature.ts'

export interface GithubSourceSettings {
  /** Secrets that GitHub may sign with, newest first; several during a rotation. */
  readonly secrets: Latest<readonly string[]>
}

const PREFIX = 'sha256='
const JSON_TYPE = /^application\/json\s*(;|$)/i
/** The form and maximum length of delivery ids and event names. */
const WORD = /^[\w.-]{1,100}$/

/** GitHub's deliveries: JSON, signed as a whole, with their id and event in headers. */
export function githubSource({ secrets }: GithubSourceSettings): WebhookSource {
  const isSignatureOf = fromLatest(() => latest(secrets), signatureCheck)

  return {
    name: 'github',
    get isConfigured() {
      return latest(secrets).length > 0
    },

    isSigned: headers => signatureIn(headers) !== undefined,

    verify(headers, body) {
      const signature = signatureIn(headers)
      if (signature === undefined) return unauthorized('X-Hub-Signature-256 is missing or malformed')
      if (!isSignatureOf()(body, signature)) return unauthorized('X-Hub-Signature-256 does not match the body')
      if (!JSON_TYPE.test(headers['content-type'] ?? '')) return malformed(notJson())

      const { 'x-github-delivery': deliveryId, 'x-github-event': event } = headers
      if (!isWord(deliveryId)) return malformed(errors.badRequest('X-GitHub-Delivery is missing or malformed'))
      if (!isWord(event)) return malformed(errors.badRequest('X-GitHub-Event is missing or malformed'))
      const account = accountOf(body)
      if (account === undefined) return malformed(errors.badRequest('The request body is not a JSON object'))
      return { deliveryId, event, account }
    }
  }
}

function signatureIn({ 'x-hub-signature-256': header }: NodeJS.Dict<string | string[]>): string | undefined {
  if (typeof header !== 'string' || !header.startsWith(PREFIX)) return undefined
  const signature = header.slice(PREFIX.length)
  return isHexSignature(signature) ? signature : undefined
}

function isWord(header: string | string[] | undefined): header is string {
  return typeof header === 'string' && WORD.test(header)
}

/** The installation that the event concerns; all others count as one account. Undefined for an invalid payload. */
function accountOf(body: Buffer): string | undefined {
  const payload = parse(body)
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return undefined
  const { installation } = payload as { installation?: { id?: unknown } | null }
  return typeof installation?.id === 'number' ? `installation ${installation.id}` : 'none'
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}

const unauthorized = (detail: string): RefusedDelivery => ({
  outcome: 'invalid_signature',
  error: errors.unauthorized(detail)
})

const malformed = (error: AppError): RefusedDelivery => ({ outcome: 'malformed', error })

const notJson = () =>
  new AppError('UNSUPPORTED_MEDIA_TYPE', { detail: 'Choose application/json as the content type of the webhook' })
