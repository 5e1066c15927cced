import { hash as digest, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** Marks the string as ours, for people and for scanners of leaked secrets. */
const MARK = 'rhone_'
/** 32 characters of 62 are 190 bits. */
const RANDOM_LENGTH = 32
const CHECKSUM_LENGTH = 6
const FORM = new RegExp(`^${MARK}[0-9A-Za-z]{${RANDOM_LENGTH + CHECKSUM_LENGTH}}$`)

/** How many characters of a token are kept in the clear, so that its owner recognises it: the mark and six more. */
const PREFIX_LENGTH = MARK.length + 6

/** A new API token: the mark, the secret, and a checksum by which a mistyped one is told without a look-up. */
export function mintToken(): string {
  const secret = randomText(RANDOM_LENGTH)
  return MARK + secret + checksum(secret)
}

/** Whether a string can be a token at all. A yes says nothing about whether it was ever issued. */
export function isWellFormedToken(text: string): boolean {
  return FORM.test(text) && text.endsWith(checksum(text.slice(MARK.length, -CHECKSUM_LENGTH)))
}

/**
 * SHA-256 of a token, in base64: what caches know it by, so that none outlives its connection in memory. It has 190 random bits, hence
 * one fast round is enough. (As text, because that costs a quarter of what it costs as a Buffer.)
 */
export function tokenKey(token: string): string {
  return digest('sha256', token, 'base64')
}

/** The same hash as bytes: what is stored of a token. */
export function hashToken(token: string): Buffer {
  return hashOfKey(tokenKey(token))
}

export function hashOfKey(key: string): Buffer {
  return Buffer.from(key, 'base64')
}

export function tokenPrefix(token: string): string {
  return token.slice(0, PREFIX_LENGTH)
}

function randomText(length: number): string {
  // Bytes from 248 on are thrown away, because 248 is the last multiple of 62: every character is equally likely.
  let text = ''
  while (text.length < length)
    for (const byte of randomBytes(length)) if (byte < 248 && text.length < length) text += ALPHABET[byte % 62]
  return text
}

/** CRC-32 in base 62; six digits hold every 32-bit number. */
function checksum(secret: string): string {
  let rest = crc32(secret)
  let digits = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = ALPHABET[rest % 62] + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}
