import { createHmac, randomBytes } from 'node:crypto'
import type { Secret } from './port.ts'

/** Known only to this process, so that a logged version cannot be used to guess a weak secret. */
const PEPPER = randomBytes(32)

/** A secret from a source without versions of its own. */
export function hashed(name: string, value: string): Secret {
  const version = createHmac('sha256', PEPPER).update(`${name}\0${value}`).digest('hex').slice(0, 16)
  return { value, version }
}
