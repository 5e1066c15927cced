import type { FastifyReply, FastifyRequest } from 'fastify'

/** An installation of the App: an account, and its selected repositories. */
export interface Installation {
  readonly id: number
  readonly accountType: 'User' | 'Organization'
  readonly accountLogin: string
  readonly accountId: number
  readonly suspendedAt: Date | null
}

export interface Repository {
  /** Survives renames and is never reused. */
  readonly id: number
  /** `owner/name`, in GitHub's spelling. */
  readonly fullName: string
  readonly isPrivate: boolean
  readonly defaultBranch: string
}

export interface Repositories {
  readonly repositories: readonly Repository[]
  /** Whether the list is complete; there may be more than are ever listed. */
  readonly isComplete: boolean
}

export interface Commit {
  readonly sha: string
  readonly message: string
  /** The author's name in git. */
  readonly author: string
}

export interface CommitStatus {
  readonly state: 'pending' | 'success' | 'failure' | 'error'
  /** Cut after 140 characters. */
  readonly description: string
  readonly targetUrl: string
}

/** One attempt by GitHub to deliver a webhook. */
export interface Delivery {
  /** Of the attempt. A string, since such ids exceed JavaScript's safe integers. */
  readonly id: string
  /** Of the delivery, shared by all of its attempts: the value of `X-GitHub-Delivery`. */
  readonly guid: string
  readonly deliveredAt: Date
  readonly succeeded: boolean
}

/**
 * The result of a browser's return: an installation owned by its user, or a redirect if the user must go to GitHub
 * first.
 */
export type Connected = { readonly teamId: string; readonly installation: Installation } | { readonly redirect: string }

/**
 * GitHub, as seen by the GitHub App. Everything but `connect` calls GitHub.
 *
 * @throws RemoteError when GitHub does not answer, or limits our rate, and then until when
 * @throws InstallationUnavailable when the account has suspended or removed the App
 */
export interface Github {
  /** Begins connecting an installation to a team. @returns the URL to send the browser to */
  connect(reply: FastifyReply, teamId: string): string
  /**
   * Handles the browser's return, and verifies with GitHub that its user owns the installation.
   * @throws AppError that tells the user what to do
   */
  connected(request: FastifyRequest, reply: FastifyReply): Promise<Connected>
  /** The repositories of an installation, cached for a minute. */
  repositories(installationId: number): Promise<Repositories>
  /** The installation that includes a repository. @param repository `owner/name` */
  installationOf(repository: string): Promise<number | null>
  /** A repository, if it belongs to the installation. */
  repository(installationId: number, repository: string): Promise<Repository | null>
  /** @param ref a branch, a tag or a SHA */
  commit(installationId: number, repository: string, ref: string, signal?: AbortSignal): Promise<Commit | null>
  /** @returns whether GitHub knows the commit */
  setStatus(
    installationId: number,
    repository: string,
    sha: string,
    status: CommitStatus,
    signal?: AbortSignal
  ): Promise<boolean>
  /**
   * The `Authorization` header for git to read a repository. Valid for at least some ten minutes.
   *
   * @param repositoryId limits it to one repository; absent: all of the installation
   */
  cloneAuthorization(installationId: number, repositoryId?: number): Promise<string>
  /** GitHub's delivery attempts since `since`, latest first. */
  deliveries(since: Date, signal?: AbortSignal): Promise<Delivery[]>
  /** Requests another attempt. @returns whether there will be one */
  redeliver(id: string, signal?: AbortSignal): Promise<boolean>
  /** Rejects when GitHub does not answer or does not know the App. */
  ping(signal?: AbortSignal): Promise<void>
  /** Drops what is cached about an installation that has changed. */
  forget(installationId: number): void
}
