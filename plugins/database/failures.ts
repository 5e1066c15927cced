import { AppError, errors } from '../lib/errors.ts'
import { isUnreachable, sqlState } from '../lib/postgres.ts'
import { isStalePlan } from './stale-plan.ts'

/**
 * The error a client gets when the database, not the request, is at fault; undefined for all others. Those keep their
 * SQLSTATE for callers that know its meaning: a violated constraint, a value out of range.
 *
 * A lock timeout, a deadlock and a serialization failure are 503 too, not 409: the request is valid, and may succeed a
 * second later.
 */
export function asAppError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error
  if (isUnreachable(error)) return errors.unavailable(1, 'The database cannot be reached', error)
  const detail = isStalePlan(error) ? 'A prepared statement was lost' : TRANSIENT[sqlState(error) ?? '']
  return detail === undefined ? undefined : errors.unavailable(1, detail, error)
}

const TRANSIENT: Readonly<Record<string, string>> = {
  '25006': 'database_readonly: the database is read-only at the moment',
  '53100': 'database_full: the disk of the database is full',
  '40001': 'Somebody else changed the same data',
  '40P01': 'Somebody else changed the same data',
  '55P03': 'Somebody else changed the same data',
  '57014': 'The database did not answer in time'
}
