import { createPrivateKey, type KeyObject } from 'node:crypto'
import { errors } from '../../plugins/lib/errors.ts'
import { fromLatest, type Latest, latest } from '../../plugins/lib/latest.ts'

/** Seconds; GitHub allows ten minutes at most, and its clock may be ahead. */
const LIFETIME = 9 * 60
/** Seconds; GitHub's clock may be behind. */
const LEEWAY = 60

/**
 * Creates the tokens that authenticate a GitHub App.
 *
 * @param privateKey PEM
 * @throws Error when it is not an RSA key
 */
export function appTokens(appId: number, privateKey: Latest<string>): () => Promise<string> {
  const key = fromLatest(() => latest(privateKey), rsaKey)
  key()
  return async () => {
    const current = key()
    if (current === null) throw errors.notConfigured('The GitHub App')
    // Not at the top: without a GitHub App, nothing here needs it.
    const { SignJWT } = await import('jose')
    const now = Math.floor(Date.now() / 1_000)
    const claims = { iat: now - LEEWAY, exp: now + LIFETIME, iss: String(appId) }
    return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'JWT' }).sign(current)
  }
}

function rsaKey(pem: string): KeyObject | null {
  if (pem === '') return null
  const key = createPrivateKey(pem)
  if (key.asymmetricKeyType !== 'rsa') throw new Error('rhone-github: option "privateKey" must be an RSA key')
  return key
}
