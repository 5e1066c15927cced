import { createHmac, randomBytes } from 'node:crypto'
import type { Secret } from './port.ts'

/** Known to this process only, so that a version that is logged cannot be used to guess a weak secret. */
const PEPPER = randomBytes(32)

/** A secret of a source that has no versions of its own. */
export function hashed(name: string, value: string): Secret {
  const version = createHmac('sha256', PEPPER).update(`${name}\0${value}`).digest('hex').slice(0, 16)
  return { value, version }
}
