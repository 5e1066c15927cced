import { createHash } from 'node:crypto'
import { lt, sql } from 'drizzle-orm'
import { signInFailures } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'

/** Wrong guesses by one address about one account before it has to wait. */
const FREE = 5
/** The same while an account is attacked from many addresses. The owner, at another address, is not locked out. */
const FREE_UNDER_ATTACK = 1
const ATTACK = 50
/** The first wait in seconds. It doubles with each wrong guess up to the maximum; after that the count restarts. */
const FIRST_WAIT = 30
const LONGEST_WAIT = 3_600

/**
 * Counts a guess by an address about an account before it is checked, so that parallel guesses gain nothing.
 *
 * @param limit the limit that was exceeded, as a sentence without a full stop
 * @returns a function that takes back the count, for a correct guess
 * @throws AppError when the address has to wait
 */
export async function takeGuess(
  db: Db,
  login: string,
  address: string,
  limit = 'Too many wrong passwords for this account'
): Promise<() => Promise<void>> {
  const pair = keyOf(`${login} ${address}`)
  const account = keyOf(login)
  const free = (await countOf(db, account)) >= ATTACK ? FREE_UNDER_ATTACK : FREE

  const wait = sql`least(${LONGEST_WAIT}, ${FIRST_WAIT} * power(2, least(20, sign_in_failures.count + 1 - ${free})))`
  const [taken] = await db.execute(sql`
    insert into sign_in_failures (key, count, blocked_until, last_at)
    values (${pair}, 1, now() + make_interval(secs => ${free === 1 ? FIRST_WAIT : 0}), now())
    on conflict (key) do update set
      count = case when ${isOver} then 1 else sign_in_failures.count + 1 end,
      blocked_until = case
        when not ${isOver} and sign_in_failures.count + 1 >= ${free} then now() + make_interval(secs => ${wait})
        else now()
      end,
      last_at = now()
    where sign_in_failures.blocked_until <= now()
    returning count`)
  if (taken === undefined) throw errors.rateLimit(await secondsLeft(db, pair), limit)
  await bump(db, account)
  return () => forgive(db, pair, account)
}

const isOver = sql`sign_in_failures.last_at < now() - make_interval(secs => ${LONGEST_WAIT})`

async function countOf(db: Db, key: Buffer): Promise<number> {
  const [row] = await db.execute<{ count: number }>(sql`
    select count from sign_in_failures where key = ${key} and not ${isOver}`)
  return row?.count ?? 0
}

async function bump(db: Db, key: Buffer): Promise<void> {
  await db.execute(sql`
    insert into sign_in_failures (key, count, blocked_until, last_at) values (${key}, 1, now(), now())
    on conflict (key) do update set
      count = case when ${isOver} then 1 else sign_in_failures.count + 1 end, last_at = now()`)
}

async function forgive(db: Db, pair: Buffer, account: Buffer): Promise<void> {
  await db.execute(sql`delete from sign_in_failures where key = ${pair}`)
  await db.execute(sql`update sign_in_failures set count = greatest(0, count - 1) where key = ${account}`)
  await db.delete(signInFailures).where(lt(signInFailures.lastAt, sql`now() - make_interval(secs => ${LONGEST_WAIT})`))
}

async function secondsLeft(db: Db, key: Buffer): Promise<number> {
  const [row] = await db.execute<{ seconds: number }>(sql`
    select ceil(extract(epoch from blocked_until - now()))::int as seconds from sign_in_failures where key = ${key}`)
  return Math.max(1, row?.seconds ?? 1)
}

/** Hashed, because people sometimes type their password in place of their name. */
function keyOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
