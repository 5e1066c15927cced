/** A message for the operator: what is wrong, where, and what to do. It can be printed without a stack. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError'
}

const FILE_SYSTEM_FAULTS: Readonly<Record<string, string>> = {
  EACCES: 'no permission to read or write it',
  EPERM: 'no permission to change it',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is exhausted',
  ENOTDIR: 'a component of its path is a file'
}

/** Turns disk errors that the operator can fix into a sentence about `directory`; returns any other error unchanged. */
export function explainFileError(error: unknown, directory: string): unknown {
  const { code, path = directory } = error as NodeJS.ErrnoException
  const fault = code && FILE_SYSTEM_FAULTS[code]
  if (!fault) return error
  return new EmbeddedPostgresError(`The embedded PostgreSQL cannot use ${path}: ${fault}.`, { cause: error })
}
