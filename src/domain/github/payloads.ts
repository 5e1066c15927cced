import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/* The parts of GitHub's payloads that Rhone uses; all other fields are ignored. */

const Id = Type.Integer({ minimum: 1 })
const AppInstallation = Type.Object({ id: Id })
const Nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()])

const PushPayload = Type.Object({
  ref: Type.String(),
  before: Type.String(),
  after: Type.String(),
  deleted: Type.Boolean(),
  head_commit: Nullable(
    Type.Object({ message: Type.String(), author: Type.Object({ name: Type.Optional(Nullable(Type.String())) }) })
  ),
  repository: Type.Object({
    id: Id,
    /** Seconds since 1970 in push events, a date elsewhere. */
    pushed_at: Type.Optional(Type.Union([Type.Number(), Type.String(), Type.Null()]))
  }),
  installation: Type.Optional(AppInstallation)
})

const InstallationPayload = Type.Object({
  action: Type.String(),
  installation: Type.Object({
    id: Id,
    suspended_at: Type.Optional(Nullable(Type.String())),
    updated_at: Type.Union([Type.Number(), Type.String()])
  })
})

const InstallationRepositoriesPayload = Type.Object({
  action: Type.String(),
  installation: AppInstallation,
  repositories_removed: Type.Array(Type.Object({ id: Id }))
})

const RepositoryPayload = Type.Object({
  action: Type.String(),
  repository: Type.Object({ id: Id, full_name: Type.String({ maxLength: 500 }) }),
  installation: Type.Optional(AppInstallation)
})

/** The payload of an event is malformed. */
export class PayloadError extends Error {
  override readonly name = 'PayloadError'
}

/** New commits on a branch. */
export interface Push {
  readonly installationId: number
  readonly repoId: number
  /** `refs/heads/` plus the branch. */
  readonly ref: string
  readonly branch: string
  readonly before: string
  readonly after: string
  /** In milliseconds; null if GitHub did not send it. */
  readonly pushedAt: number | null
  readonly commit: PushedCommit
}

/** The new head commit of a branch after a push. */
export interface PushedCommit {
  readonly sha: string
  readonly branch: string
  /** Cut to the stored length. */
  readonly message: string | null
  readonly author: string | null
}

export const LONGEST_MESSAGE = 200
const LONGEST_NAME = 255

const BRANCH = 'refs/heads/'
/** A commit hash. All zeros mean that there is no commit: before a branch was created, or after it was deleted. */
const SHA1 = /^(?!0{40})[0-9a-f]{40}$/

/**
 * The push that a payload describes; undefined for one that cannot be deployed, because it moves a tag, deletes a
 * branch, or did not come through a GitHub App.
 *
 * @throws PayloadError
 */
export function pushOf(payload: Buffer): Push | undefined {
  const { ref, before, after, deleted, head_commit: head, repository, installation } = read(PushPayload, payload)
  if (deleted || !SHA1.test(after) || !ref.startsWith(BRANCH) || installation === undefined) return undefined

  const branch = ref.slice(BRANCH.length)
  return {
    installationId: installation.id,
    repoId: repository.id,
    ref,
    branch,
    before,
    after,
    pushedAt: millisecondsOf(repository.pushed_at),
    commit: {
      sha: after,
      branch,
      message: storable(head?.message, LONGEST_MESSAGE),
      author: storable(head?.author.name, LONGEST_NAME)
    }
  }
}

/** A change of an installation of the GitHub App. */
export interface InstallationChange {
  readonly action: string
  readonly installationId: number
  readonly suspendedAt: Date | null
  /** When it changed. */
  readonly at: Date
}

/** @throws PayloadError */
export function installationChangeOf(payload: Buffer): InstallationChange {
  const { action, installation } = read(InstallationPayload, payload)
  const { id, suspended_at: suspendedAt, updated_at: updatedAt } = installation
  const at = millisecondsOf(updatedAt)
  if (at === null) throw new PayloadError('/installation/updated_at: is not a date and time')
  return {
    action,
    installationId: id,
    suspendedAt: suspendedAt == null ? null : new Date(millisecondsOf(suspendedAt) ?? at),
    at: new Date(at)
  }
}

/** The repositories that were removed from an installation of the GitHub App. */
export interface RepositoriesRemoved {
  readonly installationId: number
  readonly repoIds: readonly number[]
}

/** @throws PayloadError */
export function repositoriesRemovedOf(payload: Buffer): RepositoriesRemoved {
  const { installation, repositories_removed: removed } = read(InstallationRepositoriesPayload, payload)
  return { installationId: installation.id, repoIds: removed.map(({ id }) => id) }
}

/** A repository's new name. */
export interface RepositoryRenamed {
  readonly installationId: number
  readonly repoId: number
  readonly name: string
}

/**
 * @returns undefined for other changes of a repository
 * @throws PayloadError
 */
export function repositoryRenamedOf(payload: Buffer): RepositoryRenamed | undefined {
  const { action, repository, installation } = read(RepositoryPayload, payload)
  if ((action !== 'renamed' && action !== 'transferred') || installation === undefined) return undefined
  return { installationId: installation.id, repoId: repository.id, name: repository.full_name }
}

function read<Schema extends TSchema>(schema: Schema, payload: Buffer): Static<Schema> {
  const value = parse(payload)
  const wrong = Value.Errors(schema, value).First()
  if (wrong !== undefined) throw new PayloadError(`${wrong.path || 'payload'}: ${wrong.message.toLowerCase()}`)
  return value as Static<Schema>
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch (error) {
    throw new PayloadError('payload: is not JSON', { cause: error })
  }
}

/** GitHub sends some instants as seconds, others as dates. */
function millisecondsOf(instant: number | string | null | undefined): number | null {
  const milliseconds = typeof instant === 'number' ? instant * 1_000 : Date.parse(instant ?? '')
  return Number.isFinite(milliseconds) ? milliseconds : null
}

/**
 * The start of a text in a form that the database accepts. Cuts between characters, some of which are two code units.
 */
function storable(text: string | null | undefined, longest: number): string | null {
  if (text == null) return null
  const clean = text.replaceAll('\0', '').toWellFormed()
  let end = 0
  for (let count = 0; count < longest && end < clean.length; count++) end += clean.codePointAt(end)! > 0xffff ? 2 : 1
  return clean.slice(0, end)
}

const AnyInstallationPayload = Type.Object({ installation: Type.Object({ id: Type.Integer() }) })

/** The installation that an event is about. @throws PayloadError */
export const installationIdOf = (payload: Buffer): number => read(AnyInstallationPayload, payload).installation.id
