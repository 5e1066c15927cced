import { createPrivateKey } from 'node:crypto'
import { SignJWT } from 'jose'
import { errors } from '../../plugins/lib/errors.ts'

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
export function appTokens(appId: number, privateKey: string): () => Promise<string> {
  if (privateKey === '') {
    return async () => {
      throw errors.notConfigured('The GitHub App')
    }
  }
  const key = createPrivateKey(privateKey)
  if (key.asymmetricKeyType !== 'rsa') throw new Error('rhone-github: option "privateKey" must be an RSA key')
  return () => {
    const now = Math.floor(Date.now() / 1_000)
    const claims = { iat: now - LEEWAY, exp: now + LIFETIME, iss: String(appId) }
    return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'JWT' }).sign(key)
  }
}
