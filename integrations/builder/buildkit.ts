import { createHmac } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Latest, latest } from '../../plugins/lib/latest.ts'
import type { CloneOptions } from './git.ts'
import { type BuildContext, BuildError, type Builder, type BuildRequest, type BuiltImage } from './port.ts'
import { type Finished, findProgram, type Limits, type Sandbox } from './sandbox.ts'
import { fetchSource } from './source.ts'
import { readSmallFile } from './tree.ts'
import { inWorkspace, ownDirectory } from './workspace.ts'

export interface BuildkitServer {
  /** `tcp://host:port` */
  readonly host: string
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
  /** The frontend image that builds railpack's plan; preferably of the same version as railpack. */
  readonly frontend: string
}

export interface BuildkitBuilderOptions {
  readonly dataDir: string
  readonly limits: Limits
  readonly server: BuildkitServer
  readonly registry: { readonly host: string; readonly token: Latest<string> }
  readonly programs: { readonly railpack: string; readonly buildctl: string }
  readonly path: string
  readonly clone: CloneOptions
}

const PLAN = 'railpack-plan.json'
const DIGEST = /"containerimage\.digest":\s*"(sha256:[0-9a-f]{64})"/
/** Marks the start of the export to the registry in buildctl's output. */
const PUSHING = /^#\d+ (exporting to image|pushing )/m
/** Buildctl's final line when one of the app's steps fails. */
const FAILED_STEP = /^error: .*process "(.*)" did not complete successfully: exit code: (\d+)/m
/**
 * Failures of buildkitd, the frontend or the registry: not the app's fault, and worth retrying. Matches only buildctl's
 * own messages, since apps report connection errors, too.
 */
const OUTAGE =
  /^(error|#\d+ ERROR): .*(connection (error|refused|reset)|failed to (dial|push|resolve source metadata|list workers)|\b(Unavailable|DeadlineExceeded)\b|i\/o timeout|no such host|tls: |x509: |unexpected status.*\b(401|403|429|5\d\d)\b)/m

/** Builds on our own buildkitd, using railpack's plan for the app, and pushes to a registry. */
export function createBuildkitBuilder(options: BuildkitBuilderOptions): Builder {
  const { dataDir, limits, server, registry, path } = options

  async function build(request: BuildRequest, context: BuildContext): Promise<BuiltImage> {
    const name = `${registry.host}/${nameOf(request)}`
    const [railpack, buildctl] = await Promise.all([
      findProgram(options.programs.railpack, path),
      findProgram(options.programs.buildctl, path)
    ])
    for (const secret of credentialsOf(latest(registry.token))) context.hide(secret)
    return inWorkspace(dataDir, request, context, limits, async sandbox => {
      await context.enter('cloning')
      const { directory: source, revision: tag, commit } = await fetchSource(request, sandbox, options)

      await context.enter('analyzing')
      const plan = await prepare(railpack, source, request, sandbox)

      await context.enter('building')
      const digest = await buildAndPush(buildctl, { source, plan, image: `${name}:${tag}` }, request, context, sandbox)
      return { image: `${name}@${digest}`, ...commit }
    })
  }

  /** Railpack gets the names of all secrets, for the plan, and the values of those it uses itself. */
  async function prepare(
    railpack: string,
    source: string,
    { secrets }: BuildRequest,
    sandbox: Sandbox
  ): Promise<string> {
    const plan = await ownDirectory(sandbox, 'plan')
    const settings = Object.entries(secrets).filter(([name]) => name.startsWith('RAILPACK_'))
    const names = Object.keys(secrets).flatMap(name => [
      '--env',
      name.startsWith('RAILPACK_') ? name : `${name}=secret`
    ])
    const home = await ownDirectory(sandbox, 'home')
    const { code } = await sandbox.run({
      argv: [railpack, 'prepare', source, '--plan-out', join(plan, PLAN), ...names],
      cwd: source,
      env: {
        ...Object.fromEntries(settings),
        PATH: path,
        HOME: home,
        TMPDIR: await ownDirectory(sandbox, 'tmp'),
        LANG: 'C.UTF-8'
      }
    })
    if (code !== 0)
      throw new BuildError(
        'The build failed because the type of the app was not recognized: see the log for what is missing.'
      )
    return plan
  }

  async function buildAndPush(
    buildctl: string,
    { source, plan, image }: { readonly source: string; readonly plan: string; readonly image: string },
    request: BuildRequest,
    context: BuildContext,
    sandbox: Sandbox
  ): Promise<string> {
    const metadata = join(sandbox.directory, 'metadata.json')
    const pushing = once(() => context.enter('pushing'))
    const finished = await sandbox.run({
      argv: [
        buildctl,
        ...[
          '--addr',
          server.host,
          '--tlscacert',
          server.caFile,
          '--tlscert',
          server.certFile,
          '--tlskey',
          server.keyFile
        ],
        ...['build', '--progress', 'plain', '--frontend', 'gateway.v0', '--opt', `source=${server.frontend}`],
        ...[
          '--opt',
          `build-arg:cache-key=${request.app.id}`,
          '--opt',
          `build-arg:secrets-hash=${fingerprint(request)}`
        ],
        ...['--local', `context=${source}`, '--local', `dockerfile=${plan}`],
        ...(await secretArguments(request, sandbox)),
        ...['--output', `type=image,name=${image},push=true`, '--metadata-file', metadata]
      ],
      cwd: sandbox.directory,
      env: { PATH: path, HOME: sandbox.directory, DOCKER_CONFIG: await writeCredentials(sandbox), LANG: 'C.UTF-8' },
      asOurselves: true,
      onOutput(said) {
        // A failure means that the build has been cancelled, which is reported when it ends.
        if (PUSHING.test(said)) pushing().catch(() => {})
      }
    })
    if (finished.code !== 0) throw failureOf(finished)
    await pushing()
    return readDigest(sandbox.directory)
  }

  async function writeCredentials({ directory }: Sandbox): Promise<string> {
    const config = join(directory, 'docker')
    await mkdir(config, { mode: 0o700 })
    const [, , auth] = credentialsOf(latest(registry.token))
    // Credentials apply to the host, whatever part of it is ours.
    const [host = ''] = registry.host.split('/')
    await writeFile(join(config, 'config.json'), JSON.stringify({ auths: { [host]: { auth } } }), { mode: 0o600 })
    return config
  }

  /**
   * Changes with any secret, to invalidate the caches of the steps that use them, and reveals nothing about the values.
   */
  function fingerprint({ secrets }: BuildRequest): string {
    return createHmac('sha256', latest(registry.token))
      .update(JSON.stringify(Object.entries(secrets).sort()))
      .digest('hex')
  }

  return { name: 'buildkit', build }
}

/** The token as it is, with its user as it is sent, and that in Base64. */
function credentialsOf(token: string): [string, string, string] {
  return [token, `x:${token}`, Buffer.from(`x:${token}`).toString('base64')]
}

/** The app's unique name in the registry: not its slug, which its owner can choose. */
function nameOf({ app }: BuildRequest): string {
  const name = app.flyAppId ?? app.id
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) throw new Error('this is not an app name')
  return name
}

/** Passes secrets as files: in the environment of our own programs, an app's `LD_PRELOAD` would take effect. */
async function secretArguments({ secrets }: BuildRequest, { directory }: Sandbox): Promise<string[]> {
  const folder = join(directory, 'secrets')
  await mkdir(folder, { mode: 0o700 })
  const files = Object.entries(secrets).map(async ([name, value]) => {
    await writeFile(join(folder, name), value, { mode: 0o600 })
    return ['--secret', `id=${name},${csvField(`src=${join(folder, name)}`)}`]
  })
  return (await Promise.all(files)).flat()
}

/** Quotes a path for buildctl's CSV syntax, since it may contain a comma. */
const csvField = (text: string) => `"${text.replaceAll('"', '""')}"`

function failureOf({ code, tail }: Finished): Error {
  const [, command, exitCode] = FAILED_STEP.exec(tail) ?? []
  if (command !== undefined) return new BuildError(`The step "${command}" failed with exit code ${exitCode}.`)
  if (OUTAGE.test(tail)) return new Error('the build could not reach its builder or its registry')
  return new BuildError(`The build failed${code === null ? '' : ` with exit code ${code}`}: see the log.`)
}

async function readDigest(directory: string): Promise<string> {
  const [, digest] = DIGEST.exec((await readSmallFile(directory, 'metadata.json')) ?? '') ?? []
  if (digest === undefined) throw new Error('buildctl did not report the pushed image')
  return digest
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => (done ??= work())
}
