/** The source of a deployment, and what its build may see. */
export interface BuildRequest {
  readonly deploymentId: string
  readonly app: {
    readonly id: string
    readonly slug: string
    readonly flyAppId: string | null
    /** The app's directory in the repository; null or absent for the whole repository. */
    readonly rootDirectory?: string | null
  }
  readonly source: BuildSource | ArchiveSource
  /** Env vars marked for builds. They reach no image, argument or log. */
  readonly secrets: Readonly<Record<string, string>>
}

export interface BuildSource {
  /** The clone URL, without credentials. */
  readonly url: string
  readonly branch: string
  /** The commit to build; absent: the branch's latest. */
  readonly commitSha?: string
  /** A branch that must contain the commit: commits of other people's pull requests can be fetched, too. */
  readonly within?: string
  /**
   * Whether a `file:` URL may name what only this process's user can read. By default it is read as the build's user,
   * since the users who name repositories may not own the machine.
   */
  readonly mayReadOurs?: boolean
  /** Header sent with every request to the host of `url`, and to no other. */
  readonly authorization?: string
}

/** A source that was uploaded as a gzipped tar archive. */
export interface ArchiveSource {
  /** SHA-256 of the archive in hexadecimal. */
  readonly digest: string
  /** The archive from its beginning. @throws BuildError when it is no longer stored */
  read(): AsyncIterable<Uint8Array>
}

export const isArchive = (source: BuildRequest['source']): source is ArchiveSource => 'read' in source

/** The build phases, as the deployment's status names them. */
export type BuildPhase = 'cloning' | 'analyzing' | 'building' | 'pushing'

export interface BuildContext {
  /** Aborted when the build is cancelled, has lost its claim, or the server stops: all of its work must stop. */
  readonly signal: AbortSignal
  /** Settles once the phase is stored; rejects if the build has been cancelled meanwhile. */
  enter(phase: BuildPhase): Promise<void>
  /** Takes the output of build programs, in whole or partial lines. The receiver redacts and limits it. */
  say(text: string): void
  /** Takes a line of the builder's own, which is shown unchanged. */
  note(line: string): void
  /** Masks this value in the log from now on. */
  hide(secret: string): void
}

export interface BuiltImage {
  /** The image by digest, so that a later rollback deploys exactly the same bits. */
  readonly image: string
  /** Absent for an uploaded source. */
  readonly commitSha?: string
  /** The first line of the commit message and the author, as recorded by git. */
  readonly commitMessage?: string
  readonly commitAuthor?: string
}

/** Builds an image from a commit or an uploaded source. Restarting a build yields the same image. */
export interface Builder {
  readonly name: string
  /**
   * @throws BuildError when the source, the build or its limits are at fault; any other error is ours and is retried
   */
  build(request: BuildRequest, context: BuildContext): Promise<BuiltImage>
  /**
   * Removes an app's images that are not in `keep`, or all of them if `keep` is null because the app was deleted.
   * Absent when images are stored elsewhere and are not ours to remove.
   */
  prune?(appId: string, keep: readonly string[] | null): Promise<void>
}

export interface BuildErrorOptions extends ErrorOptions {
  /** Short message of a program, appended to the sentence; it may contain secrets. */
  readonly reason?: string
  /** Output of the failed program; it may contain secrets. */
  readonly said?: string
}

/** A failure caused by the app, with a sentence to show its owner. */
export class BuildError extends Error {
  override readonly name = 'BuildError'
  readonly reason: string | undefined
  readonly said: string | undefined

  constructor(sentence: string, { reason, said, ...options }: BuildErrorOptions = {}) {
    super(sentence, options)
    this.reason = reason
    this.said = said
  }
}
