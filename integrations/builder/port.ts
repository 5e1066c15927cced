/** Where the source of a deployment comes from, and what it may see while it is built. */
export interface BuildRequest {
  readonly deploymentId: string
  readonly app: {
    readonly id: string
    readonly slug: string
    readonly flyAppId: string | null
    /** The directory of the repository that the app is in; null or absent: all of it. */
    readonly rootDirectory?: string | null
  }
  readonly source: BuildSource
  /** The env vars that the app's owner has marked for builds. They reach no image, argument or log. */
  readonly secrets: Readonly<Record<string, string>>
}

export interface BuildSource {
  /** What git clones from; without credentials. */
  readonly url: string
  readonly branch: string
  /** The commit to build; absent: the branch's newest. */
  readonly commitSha?: string
  /** A branch that must have the commit: those of other people's pull requests can be fetched, too. */
  readonly within?: string
  /** Sent as a header with every request to the host of `url`, and to no other. */
  readonly authorization?: string
}

/** The steps of a build, as the deployment's status names them. */
export type BuildPhase = 'cloning' | 'analyzing' | 'building' | 'pushing'

export interface BuildContext {
  /** Aborted when the build is cancelled, has lost its claim, or the server stops: everything of it must end. */
  readonly signal: AbortSignal
  /** Settles when the phase is on record, and rejects when the build has been cancelled meanwhile. */
  enter(phase: BuildPhase): Promise<void>
  /** Takes what programs of the build write, whole or in parts of lines. Redaction and bounds are the receiver's. */
  say(text: string): void
  /** Takes a line of the builder's own, which is shown as it is. */
  note(line: string): void
  /** Keeps this value out of the log from now on. */
  hide(secret: string): void
}

export interface BuiltImage {
  /** The image by digest: what a later rollback deploys, bit for bit. */
  readonly image: string
  readonly commitSha: string
  /** Its first line and its author, as git has them. */
  readonly commitMessage: string
  readonly commitAuthor: string
}

/** What makes an image of a commit. A build that is begun again makes the same one. */
export interface Builder {
  readonly name: string
  /** @throws BuildError when the source, the build or its limits are at fault; any other error is ours, and is tried again */
  build(request: BuildRequest, context: BuildContext): Promise<BuiltImage>
  /**
   * Forgets the images of an app that are not among `keep`; all of them where that is null, because the app is gone.
   * Absent: images live elsewhere, and are not ours to remove.
   */
  prune?(appId: string, keep: readonly string[] | null): Promise<void>
}

export interface BuildErrorOptions extends ErrorOptions {
  /** A program's own short words, which follow the sentence: not ours, and perhaps not without secrets. */
  readonly reason?: string
  /** What the program has said that failed: not our words, and perhaps not without secrets. */
  readonly said?: string
}

/** A failure of the app's own, with a sentence that its owner is shown. */
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
