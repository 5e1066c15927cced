import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FakeCommit, World } from './world.ts'

const BACKEND = '/usr/lib/git-core/git-http-backend'
const FORM = '%H%x00%an%x00%B'

/** A commit of a bare repository, by branch, tag or SHA. */
export async function commitIn(root: string | null, fullName: string, ref: string): Promise<FakeCommit | null> {
  const directory = join(root ?? '', `${fullName}.git`)
  if (root === null || ref.startsWith('-') || !existsSync(directory)) return null
  try {
    const args = ['-C', directory, 'log', '-1', `--format=${FORM}`, ref, '--']
    const { stdout } = await promisify(execFile)('git', args)
    const [sha = '', author = '', message = ''] = stdout.split('\0')
    return { sha, author, message: message.trim() }
  } catch {
    return null
  }
}

/** Serves bare repositories to git over HTTP, like GitHub: private ones only with an authorized token. */
export async function answerGit(world: World, request: IncomingMessage, response: ServerResponse, url: URL) {
  const [, fullName, path] = /^\/([^/]+\/[^/]+?)\.git(\/(?:info\/refs|git-upload-pack))$/.exec(url.pathname) ?? []
  if (world.gitRoot === null || fullName === undefined) return false
  if (!existsSync(join(world.gitRoot, `${fullName}.git`)) || !mayRead(world, request, fullName)) {
    // A client without access to a repository is asked for credentials.
    response.writeHead(401, { 'www-authenticate': 'Basic realm="GitHub"' }).end('Repository not found.')
    return true
  }
  await serve(world.gitRoot, `/${fullName}.git${path}`, request, response, url)
  return true
}

function mayRead(world: World, request: IncomingMessage, fullName: string): boolean {
  const repository = world.installations
    .flatMap(({ repositories }) => repositories)
    .find(({ full_name }) => full_name === fullName)
  if (repository !== undefined && !repository.private) return true
  const [, encoded = ''] = /^basic (.+)$/i.exec(request.headers.authorization ?? '') ?? []
  const [user, password = ''] = Buffer.from(encoded, 'base64').toString().split(':')
  const token = world.installationTokens.get(password)
  const installation = world.installations.find(({ id }) => id === token?.installationId)
  if (user !== 'x-access-token' || token === undefined || token.ends <= Date.now() || !installation) return false
  if (installation.suspended_at !== null || !installation.repositories.includes(repository!)) return false
  return token.repositoryIds === null || token.repositoryIds.includes(repository!.id)
}

/** Runs git's own server for one request, through CGI. */
async function serve(root: string, path: string, request: IncomingMessage, response: ServerResponse, url: URL) {
  const child = spawn(BACKEND, [], {
    env: {
      PATH: '/usr/bin:/bin',
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      PATH_INFO: path,
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? '')
    },
    stdio: ['pipe', 'pipe', 'ignore']
  })
  child.stdin.on('error', () => {})
  request.pipe(child.stdin)
  response.on('close', () => child.kill())
  const chunks: Buffer[] = []
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer)
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  const output = Buffer.concat(chunks)
  const end = output.indexOf('\r\n\r\n')
  const fields = output.subarray(0, Math.max(end, 0)).toString().split('\r\n')
  const headers = Object.fromEntries(fields.filter(Boolean).map(field => field.split(/:\s*/, 2) as [string, string]))
  const { Status = '200', ...others } = headers
  response.writeHead(end === -1 ? 500 : Number.parseInt(Status, 10), others).end(output.subarray(end + 4))
}
