/** A sentence for the operator: what is wrong, where, and what to do. Its message can be printed without a stack. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError'
}

const FILE_SYSTEM_FAULTS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not read or write it',
  EPERM: 'this user may not change it',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of its path is a file'
}

/** Turns what the operator can mend on the disk into a sentence about `directory`; any other error stays as it is. */
export function explainFileError(error: unknown, directory: string): unknown {
  const { code, path = directory } = error as NodeJS.ErrnoException
  const fault = code && FILE_SYSTEM_FAULTS[code]
  if (!fault) return error
  return new EmbeddedPostgresError(`The embedded PostgreSQL cannot use ${path}: ${fault}.`, { cause: error })
}
