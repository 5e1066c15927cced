import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, rename, rmdir, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode, nullIf } from '../../plugins/lib/errno.ts'
import {
  APP_DIRECTORY,
  imagePath,
  imagesDirectory,
  type LocalManifest,
  localImage,
  MANIFEST_FILE
} from '../../plugins/lib/local-image.ts'
import { removeTree } from '../../plugins/lib/remove-tree.ts'
import { type BuildPlan, detect } from './detect.ts'
import type { CloneOptions } from './git.ts'
import { InstalledPackages } from './installed-packages.ts'
import { cacheVariables, PackageCache } from './package-cache.ts'
import { type BuildContext, BuildError, type Builder, type BuildRequest, type BuiltImage } from './port.ts'
import { reusable } from './reuse.ts'
import { findProgram, type Limits, type Sandbox } from './sandbox.ts'
import { fetchSource } from './source.ts'
import { digestOf, makeImmutable } from './tree.ts'
import { certificatesFor, graveyardOf, inWorkspace, ownDirectory } from './workspace.ts'

export interface LocalBuilderOptions {
  readonly dataDir: string
  readonly limits: Limits
  /** Maximum bytes of downloaded packages to keep for later builds of all apps; the same for installed ones. */
  readonly packageCache: number
  readonly npm: string
  /** The `PATH` of build programs. */
  readonly path: string
  readonly clone: CloneOptions
}

/** Milliseconds between progress lines of one step. */
const PROGRESS_INTERVAL = 15_000
/** Milliseconds for which a new image is kept although it may not be referenced yet. */
const UNREFERENCED_AGE = 3_600_000
/** Number of apps whose downloaded packages are kept; the same for installed ones. */
const CACHED_APPS = 64
const REUSED = 'Reusing the packages of the last build: nothing that they depend on has changed.\n'

interface StepRunner {
  /** Runs npm with these arguments. @throws BuildError when it fails */
  (step: readonly string[]): Promise<void>
  /** The directory of downloaded packages; null before the first step. */
  packages(): string | null
}

/** Builds on this machine with the app's own scripts, into immutable directories under `dataDir`. */
export function createLocalBuilder(options: LocalBuilderOptions): Builder {
  const { dataDir, limits } = options
  const bounds = { bytes: options.packageCache, apps: CACHED_APPS, spare: limits.spare }
  const cache = new PackageCache(dataDir, bounds)
  const installed = new InstalledPackages(dataDir, options.path, bounds, limits)

  async function build(request: BuildRequest, context: BuildContext): Promise<BuiltImage> {
    return inWorkspace(dataDir, request, context, limits, async sandbox => {
      await context.enter('cloning')
      const { directory: source, commit } = await fetchSource(request, sandbox, options)

      await context.enter('analyzing')
      const root = rootOf(request)
      const place = await requireDirectory(source, root)
      const recipe = await detect(place)
      for (const note of recipe.notes) sandbox.note(`${note}\n`)

      await context.enter('building')
      const packages = await runSteps(recipe, place, request, sandbox)

      await context.enter('pushing')
      const image = await keep(request.app.id, source, commandOf(recipe.start, root), sandbox)
      sandbox.note(`Built ${image}\n`)
      if (packages !== null)
        await cache.put(request.app.id, packages).catch((error: Error) => {
          sandbox.note(`The downloaded packages are not cached for the next build: ${error.message}\n`)
        })
      return { image, ...commit }
    })
  }

  /** @returns the directory of downloaded packages; null if npm was not needed */
  async function runSteps(
    { steps, locked }: BuildPlan,
    place: string,
    request: BuildRequest,
    sandbox: Sandbox
  ): Promise<string | null> {
    if (steps.length === 0) return null
    const npm = await findProgram(options.npm, options.path)
    const run = stepRunner(npm, place, request, sandbox)
    const rest = locked === null ? steps : await installLocked(locked, steps, npm, place, request, sandbox, run)
    for (const step of rest) await run(step)
    return run.packages()
  }

  /**
   * Installs the lockfile's packages, or reuses those that the last build installed from the same inputs. @returns the
   * remaining steps
   */
  async function installLocked(
    manifest: NonNullable<BuildPlan['locked']>,
    [install, ...rest]: BuildPlan['steps'],
    npm: string,
    place: string,
    { app, secrets }: BuildRequest,
    sandbox: Sandbox,
    run: StepRunner
  ): Promise<BuildPlan['steps']> {
    const node = await findProgram('node', options.path)
    const reuse = await reusable(place, manifest, Object.keys(secrets), [node, npm])
    if (typeof reuse === 'string') {
      sandbox.note(`Packages are installed again in each build of this app: ${reuse}.\n`)
      return [install!, ...rest]
    }
    if (await installed.restore(app.id, reuse.key, place, sandbox)) sandbox.note(REUSED)
    else {
      await run(reuse.install)
      await installed.save(app.id, reuse.key, place, sandbox).catch((error: Error) => {
        sandbox.signal.throwIfAborted()
        sandbox.note(`The installed packages are not cached for the next build: ${error.message}\n`)
      })
    }
    return [...reuse.finish, ...rest]
  }

  /** Does not prepare anything before the first step. */
  function stepRunner(npm: string, cwd: string, request: BuildRequest, sandbox: Sandbox): StepRunner {
    let packages: string | null = null
    let env: Record<string, string> | undefined
    async function prepare() {
      packages = await cache.take(request.app.id, sandbox)
      const [home, temporary] = [await ownDirectory(sandbox, 'home'), await ownDirectory(sandbox, 'tmp')]
      return environmentOf(request, options.path, home, temporary, await certificatesFor(sandbox), packages)
    }
    async function run(step: readonly string[]): Promise<void> {
      env ??= await prepare()
      sandbox.note(`$ npm ${step.join(' ')}\n`)
      // Only pnpm knows this setting; npm would warn about it.
      const { npm_config_store_dir: _, ...ofNpm } = env
      const command = { argv: [npm, ...step], cwd, env: step.includes('pnpm') ? env : ofNpm }
      const { code } = await stillSaying(`npm ${step[0]}`, sandbox, () => sandbox.run(command))
      if (code !== 0)
        throw new BuildError(`npm ${step.join(' ')} failed${code === null ? '' : ` with exit code ${code}`}.`)
    }
    return Object.assign(run, { packages: () => packages })
  }

  /** Moves the image into place atomically. */
  async function keep(appId: string, source: string, command: string[], { directory }: Sandbox): Promise<string> {
    const making = join(directory, 'image')
    const app = join(making, APP_DIRECTORY)
    await mkdir(making, { mode: 0o755 })
    await rename(source, app)
    await makeImmutable(app)
    const manifest = JSON.stringify({ command } satisfies LocalManifest)
    await writeFile(join(making, MANIFEST_FILE), manifest, { mode: 0o444 })
    const image = localImage(
      createHash('sha256')
        .update(manifest)
        .update(await digestOf(app))
        .digest('hex')
    )

    const place = imagePath(dataDir, appId, image)
    await mkdir(imagesDirectory(dataDir, appId), { recursive: true, mode: 0o711 })
    const now = new Date()
    await utimes(making, now, now)
    await rename(making, place).catch(async error => {
      // An identical image exists already; it counts as new.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error
      await utimes(place, now, now)
    })
    return image
  }

  /** For an existing app, also keeps images newer than the caller may know about. */
  async function prune(appId: string, keep: readonly string[] | null): Promise<void> {
    const directory = imagesDirectory(dataDir, appId)
    if (keep === null) await Promise.all([cache.drop(appId), installed.drop(appId)])
    const digests = (await readdir(directory).catch(nullIf('ENOENT'))) ?? []
    for (const digest of digests.filter(name => /^[0-9a-f]{64}$/.test(name))) {
      const place = join(directory, digest)
      const isKept =
        keep?.includes(localImage(digest)) || (keep && Date.now() - (await stat(place)).mtimeMs < UNREFERENCED_AGE)
      if (!isKept) await removeTree(place, graveyardOf(dataDir))
    }
    await rmdir(directory).catch(error => {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw error
    })
  }

  return { name: 'local', build, prune }
}

/** Paths without quotes that stay within the repository. */
const ROOT = /^(?!\.{1,2}(?:\/|$))[\w@. -]{1,100}(?:\/(?!\.{1,2}(?:\/|$))[\w@. -]{1,100}){0,10}$/

/** The app's directory in the repository; null for the whole repository. */
function rootOf({ app: { rootDirectory = null } }: BuildRequest): string | null {
  if (rootDirectory !== null && !ROOT.test(rootDirectory))
    throw new BuildError('The rootDirectory of the app is not a path within its repository.')
  return rootDirectory
}

async function requireDirectory(source: string, root: string | null): Promise<string> {
  const place = join(source, root ?? '')
  const found = await lstat(place).catch(nullIf('ENOENT', 'ENOTDIR'))
  if (!found?.isDirectory()) throw new BuildError(`The repository has no directory ${JSON.stringify(root)}.`)
  return place
}

/** Logs at intervals that a step is still running, since it may be silent for minutes. */
async function stillSaying<T>(step: string, sandbox: Sandbox, run: () => Promise<T>): Promise<T> {
  const began = performance.now()
  const timer = setInterval(() => {
    sandbox.note(`… ${step} is still running, after ${Math.round((performance.now() - began) / 1_000)} s\n`)
  }, PROGRESS_INTERVAL).unref()
  try {
    return await run()
  } finally {
    clearInterval(timer)
  }
}

/** Settings that the build depends on override the app's own. */
function environmentOf(
  { secrets }: BuildRequest,
  path: string,
  home: string,
  temporary: string,
  certificates: string,
  packages: string
): Record<string, string> {
  return {
    CI: '1',
    LANG: 'C.UTF-8',
    NODE_ENV: 'production',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
    NODE_EXTRA_CA_CERTS: certificates,
    SSL_CERT_FILE: certificates,
    GIT_SSL_CAINFO: certificates,
    ...cacheVariables(packages),
    ...secrets,
    HOME: home,
    PATH: path,
    TMPDIR: temporary
  }
}

/** Leading words that need a shell: its keywords and builtins, and an `exec` that is already there. */
const SHELL_WORD =
  /^(\.|:|!|\{|case|cd|command|eval|exec|exit|export|for|if|set|source|trap|ulimit|umask|unset|until|while)(\s|$)/

/** A single plain command replaces the shell, so that signals reach it. */
function commandOf(start: string, root: string | null): string[] {
  const isPlain = !/[;&|<>()`\n#]/.test(start) && !SHELL_WORD.test(start)
  // Runs through `env`, since the command may begin with variable assignments.
  return [
    '/bin/sh',
    '-c',
    `${root === null ? '' : `cd -- '${root}' || exit 126\n`}export PATH="$PWD/node_modules/.bin:$PATH"\n${isPlain ? 'exec env ' : ''}${start}`
  ]
}
