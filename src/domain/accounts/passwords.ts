import { type Argon2Parameters, argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { errors } from '../../../plugins/lib/errors.ts'
import { FairQueue } from './fair-queue.ts'

/** OWASP's minimum for Argon2id: 19 MiB, two passes, one lane. */
const MEMORY = 19_456
const PASSES = 2
const LANES = 1
const SALT_BYTES = 16
const HASH_BYTES = 32

/** Each hash takes memory and a core for a while. A flood of sign-ins is queued, then refused. */
const AT_ONCE = 2
const MOST_WAITING = 32

const SHORTEST = 12
const LONGEST = 1_024
/** zxcvbn's score from 0 to 4. 4 means at least 10^10 guesses for an attacker who has the hash. */
const STRONG_ENOUGH = 4

const PHC = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)$/

export interface Passwords {
  /**
   * An Argon2id hash as a PHC string.
   *
   * @param caller the address of the request, for fair queueing
   */
  hash(password: string, caller: string): Promise<string>
  /** Takes the same time if there is no hash. */
  verify(password: string, hash: string | null | undefined, caller: string): Promise<boolean>
  /**
   * @param words words that an attacker would try first: the user's name
   * @throws AppError that says what is wrong with a new password
   */
  check(field: string, password: string, words: readonly string[]): Promise<void>
}

/**
 * @param words words that passwords must not be built from: the name of this server
 * @throws Error if this Node has no Argon2
 */
export function createPasswords(words: readonly string[] = []): Passwords {
  if (typeof argon2 !== 'function') throw new Error('LOCAL_ACCOUNTS needs Node 24.7 or later, which has Argon2')
  const derive = promisify(argon2)
  const queue = new FairQueue({ atOnce: AT_ONCE, mostWaiting: MOST_WAITING, retryAfter: 2 })
  let decoy: Promise<string> | undefined

  async function hash(password: string, caller: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES)
    const settings = parameters(password, salt, MEMORY, PASSES, LANES)
    const digest = await queue.run(caller, () => derive('argon2id', settings))
    return `$argon2id$v=19$m=${MEMORY},t=${PASSES},p=${LANES}$${encode(salt)}$${encode(digest)}`
  }

  return {
    hash,

    async verify(password, stored, caller) {
      decoy ??= hash(randomBytes(SALT_BYTES).toString('hex'), '')
      const [, memory, passes, lanes, salt = '', digest = ''] = PHC.exec(stored ?? (await decoy)) ?? []
      const costs = [Number(memory), Number(passes), Number(lanes)] as const
      const settings = parameters(password, Buffer.from(salt, 'base64'), ...costs)
      const found = await queue.run(caller, () => derive('argon2id', settings))
      return timingSafeEqual(found, Buffer.from(digest, 'base64')) && typeof stored === 'string'
    },

    async check(field, password, own) {
      const length = [...password].length
      if (length < SHORTEST) throw errors.validation(field, `must have at least ${SHORTEST} characters`)
      if (length > LONGEST) throw errors.validation(field, `must have at most ${LONGEST} characters`)
      const { estimate } = await import('./password-strength.ts')
      if (estimate(password, ['rhone', ...words, ...own]) < STRONG_ENOUGH)
        throw errors.validation(field, 'is too easy to guess: add a few unrelated words')
    }
  }
}

function parameters(password: string, nonce: Buffer, memory: number, passes: number, lanes: number): Argon2Parameters {
  // Keyboards differ in the code points that they send for the same letters.
  return { message: password.normalize('NFKC'), nonce, memory, passes, parallelism: lanes, tagLength: HASH_BYTES }
}

const encode = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')
