import { createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'

const HEX_SHA256 = /^[0-9a-f]{64}$/i

/** Whether some text has the form of a SHA-256 HMAC in hexadecimal. */
export const isHexSignature = (text: string): boolean => HEX_SHA256.test(text)

/**
 * Checks HMAC-SHA256 signatures made with any of several secrets, so that a new one can be brought in while the old one is
 * still in use. How long it takes tells neither how much of a signature is right nor which secret it was made with.
 *
 * @returns whether `signature`, in hexadecimal, is one of `signed`
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
