import { join } from 'node:path'
import { type CloneOptions, type Commit, clone } from './git.ts'
import { type ArchiveSource, type BuildRequest, type BuildSource, isArchive } from './port.ts'
import type { Limits, Sandbox } from './sandbox.ts'
import { chownTree } from './tree.ts'
import { unpack } from './unpack.ts'

export interface FetchedSource {
  readonly directory: string
  /** Names the source in a few hexadecimal digits. */
  readonly revision: string
  /** Absent for an uploaded source. */
  readonly commit?: Commit
}

/** Puts a build's source into its workspace, owned by the build's user. @throws BuildError */
export async function fetchSource(
  { source }: BuildRequest,
  sandbox: Sandbox,
  options: { readonly clone: CloneOptions; readonly limits: Limits }
): Promise<FetchedSource> {
  const directory = join(sandbox.directory, 'source')
  const revision = isArchive(source) ? await unpacked(source) : await cloned(source)
  if (sandbox.account !== null) await chownTree(directory, sandbox.account)
  return { directory, ...revision }

  async function unpacked(archive: ArchiveSource) {
    await unpack(archive, directory, sandbox, options.limits.disk)
    return { revision: archive.digest.slice(0, 12) }
  }

  async function cloned(repository: BuildSource) {
    const commit = await clone(repository, directory, sandbox, options.clone)
    return { revision: commit.commitSha.slice(0, 12), commit }
  }
}
