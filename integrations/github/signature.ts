import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'

const HEX_SHA256 = /^[0-9a-f]{64}$/i

/** Whether the text has the form of a SHA-256 HMAC in hexadecimal. */
export const isHexSignature = (text: string): boolean => HEX_SHA256.test(text)

/**
 * Checks HMAC-SHA256 signatures against several secrets, so that a secret can be rotated. Its timing reveals neither
 * how much of a signature is right nor which secret matched.
 *
 * @returns whether `signature`, in hexadecimal, is valid for `signed`
 */
export function signatureCheck(secrets: readonly string[]): (signed: Buffer, signature: string) => boolean {
  const keys = secrets.map(secret => createSecretKey(secret, 'utf8'))
  return (signed, signature) => {
    if (!isHexSignature(signature)) return false
    const given = Buffer.from(signature, 'hex')
    const matches = keys.map(key => timingSafeEqual(createHmac('sha256', key).update(signed).digest(), given))
    return matches.includes(true)
  }
}
