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
  const detail = isStalePlan(error) ? 'A statement has to be prepared again' : TRANSIENT[sqlState(error) ?? '']
  return detail === undefined ? undefined : errors.unavailable(1, detail, error)
}

const TRANSIENT: Readonly<Record<string, string>> = {
  '25006': 'database_readonly: the database takes reads only at the moment',
  '53100': 'database_full: the database has no space left',
  '40001': 'The data was being changed by others',
  '40P01': 'The data was being changed by others',
  '55P03': 'The data was being changed by others',
  '57014': 'The database took too long'
}
