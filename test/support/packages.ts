import { execFile } from 'node:child_process'
import { cp, lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
export const ROOT = join(import.meta.dirname, '../..')
export const NODE_MODULES = join(ROOT, 'node_modules')
const TSC = join(NODE_MODULES, 'typescript/bin/tsc')
/** Several compiler threads duplicate work: a single one takes half of the CPU time. */
export const FRUGAL_TSC = '--singleThreaded'

/** Packs a folder. @returns the paths in the tarball, which lies in `destination` */
export async function pack(folder: string, destination: string): Promise<string[]> {
  const args = ['pack', '--json', '--offline', '--ignore-scripts', '--pack-destination', destination]
  const { stdout } = await run('npm', args, { cwd: folder })
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }]
  return files.map(({ path }) => path)
}

/** An empty project in which `npm install` of a tarball was run, without the rest of its dependencies. */
export async function projectWith(project: string, name: string, tarball: string): Promise<string> {
  const installed = join(project, 'node_modules', name)
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  await writeFile(join(project, 'package.json'), '{ "type": "module" }')
  return installed
}

/**
 * Adds packages like `npm install`, without the network: each with its dependencies and peers, copied from this repository,
 * so that nothing else can be resolved.
 */
export async function installCopies(project: string, names: readonly string[]): Promise<void> {
  const seen = new Set<string>()
  for (const name of names) await visit(name)

  async function visit(name: string): Promise<void> {
    const target = join(project, 'node_modules', name)
    if (seen.has(name)) return
    seen.add(name)
    if (!(await exists(target))) await cp(join(NODE_MODULES, name), target, { recursive: true })
    const { dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = await manifestIn(target)
    const peers = Object.keys(peerDependencies).filter(peer => peerDependenciesMeta[peer]?.optional !== true)
    for (const needed of [...Object.keys(dependencies), ...peers])
      if (!(await exists(join(target, 'node_modules', needed)))) await visit(needed)
  }
}

/** Links all packages of this repository, for tests that only need to resolve them. */
export async function linkPackages(project: string): Promise<void> {
  for (const name of await installedIn(NODE_MODULES)) {
    const target = join(project, 'node_modules', name)
    await mkdir(join(target, '..'), { recursive: true })
    if (!(await exists(target))) await symlink(join(NODE_MODULES, name), target)
  }
}

/** The names of the packages in a `node_modules`. */
export async function installedIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(name => !name.startsWith('.'))
  const scopes = names.filter(name => name.startsWith('@'))
  const scoped = await Promise.all(
    scopes.map(async scope => (await readdir(join(folder, scope))).map(name => `${scope}/${name}`))
  )
  return [...names.filter(name => !name.startsWith('@')), ...scoped.flat()].sort()
}

interface PackageManifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
  readonly exports: Readonly<Record<string, unknown>>
}

export async function manifestIn(folder: string): Promise<PackageManifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
}

/** Runs the compiler like a user of the package. @returns its output, empty on success */
export async function typeErrors(project: string, flags: string, files: readonly string[]): Promise<string> {
  const usual = '--noEmit --strict --module nodenext --target es2024 --types node'.split(' ')
  const args = [TSC, ...usual, ...flags.split(' '), FRUGAL_TSC, ...files]
  return await run(process.execPath, args, { cwd: project }).then(
    ({ stdout }) => stdout,
    (error: { stdout: string; stderr: string }) => error.stdout + error.stderr
  )
}

export async function runNode(args: readonly string[], cwd: string): Promise<{ stdout: string }> {
  try {
    return await run(process.execPath, args, { cwd })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(stdout + stderr, { cause: error })
  }
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false
  )
}
