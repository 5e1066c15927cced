import type { FastifyReply, FastifyRequest } from 'fastify'

/** Where the App is installed: an account, and those of its repositories that it has picked. */
export interface Installation {
  readonly id: number
  readonly accountType: 'User' | 'Organization'
  readonly accountLogin: string
  readonly accountId: number
  readonly suspendedAt: Date | null
}

export interface Repository {
  /** Stays when it is renamed, and is never given to another. */
  readonly id: number
  /** `owner/name`, as GitHub writes it. */
  readonly fullName: string
  readonly isPrivate: boolean
  readonly defaultBranch: string
}

export interface Repositories {
  readonly repositories: readonly Repository[]
  /** Whether these are all; there may be more than are ever listed. */
  readonly isComplete: boolean
}

export interface Commit {
  readonly sha: string
  readonly message: string
  /** The name that its author has given git. */
  readonly author: string
}

export interface CommitStatus {
  readonly state: 'pending' | 'success' | 'failure' | 'error'
  /** Longer ones than 140 characters are cut. */
  readonly description: string
  readonly targetUrl: string
}

/** One attempt of GitHub to deliver a webhook. */
export interface Delivery {
  /** Of the attempt. Text, since such numbers are longer than JavaScript's. */
  readonly id: string
  /** Of the delivery, the same for all of its attempts: what `X-GitHub-Delivery` says. */
  readonly guid: string
  readonly deliveredAt: Date
  readonly succeeded: boolean
}

/** What a browser has come back with: an installation that is its user's, or not yet, and it must go there first. */
export type Connected = { readonly teamId: string; readonly installation: Installation } | { readonly redirect: string }

/**
 * GitHub, as the GitHub App sees it. Everything but `connect` asks GitHub.
 *
 * @throws RemoteError when GitHub does not answer, or has enough of us, and then says until when
 * @throws InstallationUnavailable when the account has suspended or removed the App
 */
export interface Github {
  /** Begins to connect a team with an installation. @returns where to send the browser to */
  connect(reply: FastifyReply, teamId: string): string
  /**
   * Takes what comes back, and GitHub's word for it that whoever brings it has the installation.
   *
   * @throws AppError that tells people what to do
   */
  connected(request: FastifyRequest, reply: FastifyReply): Promise<Connected>
  /** The repositories of an installation, from memory if they were asked for within the last minute. */
  repositories(installationId: number): Promise<Repositories>
  /** The installation that has a repository. @param repository `owner/name` */
  installationOf(repository: string): Promise<number | null>
  /** A repository, if it is one of the installation. */
  repository(installationId: number, repository: string): Promise<Repository | null>
  /** @param ref a branch, a tag or a SHA */
  commit(installationId: number, repository: string, ref: string, signal?: AbortSignal): Promise<Commit | null>
  /** @returns whether GitHub knows that commit */
  setStatus(
    installationId: number,
    repository: string,
    sha: string,
    status: CommitStatus,
    signal?: AbortSignal
  ): Promise<boolean>
  /**
   * What git sends as `Authorization` to read a repository. Good for some ten minutes at least.
   *
   * @param repositoryId the only one that it opens; absent: all of the installation
   */
  cloneAuthorization(installationId: number, repositoryId?: number): Promise<string>
  /** What GitHub has tried to deliver since, the latest first. */
  deliveries(since: Date, signal?: AbortSignal): Promise<Delivery[]>
  /** Asks for another attempt. @returns whether there will be one */
  redeliver(id: string, signal?: AbortSignal): Promise<boolean>
  /** Rejects when GitHub does not answer, or does not know the App. */
  ping(signal?: AbortSignal): Promise<void>
  /** Forgets what is remembered of an installation, because it has changed. */
  forget(installationId: number): void
}
