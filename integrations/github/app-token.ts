import { createPrivateKey, sign } from 'node:crypto'
import { errors } from '../../plugins/lib/errors.ts'

/** Seconds; GitHub takes ten minutes at most, and its clock may be ahead. */
const LIFETIME = 9 * 60
/** Seconds; the clock of GitHub may be behind. */
const LEEWAY = 60

const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
const HEADER = encode({ alg: 'RS256', typ: 'JWT' })

/**
 * Makes the tokens by which a GitHub App shows that it is that App.
 *
 * @param privateKey PEM
 * @throws Error when that is no RSA key
 */
export function appTokens(appId: number, privateKey: string): () => string {
  if (privateKey === '') {
    return () => {
      throw errors.notConfigured('The GitHub App')
    }
  }
  const key = createPrivateKey(privateKey)
  if (key.asymmetricKeyType !== 'rsa') throw new Error('rhone-github: option "privateKey" must be an RSA key')
  return () => {
    const now = Math.floor(Date.now() / 1_000)
    const text = `${HEADER}.${encode({ iat: now - LEEWAY, exp: now + LIFETIME, iss: String(appId) })}`
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`
  }
}
