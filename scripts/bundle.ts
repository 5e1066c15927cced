/**
 * `npm run bundle`: joins the modules of Rhone and of its dependencies into a few files in `.cache/bundle`, from which
 * it then starts, as long as no source file changes. `npm ci` runs it, unless it leaves out the tools of development.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type Metafile, type Plugin } from 'esbuild'
import { BUNDLES, type BundleManifest, MANIFEST, PROGRAMS, secondOf } from '../src/bundle.ts'

const ROOT = join(import.meta.dirname, '..')
/** A running server loads more of its bundle later: the two before this are kept. */
const KEPT = 3

await bundle()

async function bundle(): Promise<void> {
  const startedAt = Date.now()
  const directory = join(BUNDLES, `${startedAt}-${process.pid}`)
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: PROGRAMS,
    inject: ['src/bundle-traces.ts'],
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node22',
    format: 'esm',
    // CommonJS modules require Node's own.
    banner: { js: `import{createRequire as requireOf}from'node:module';const require=requireOf(import.meta.url);` },
    external: await optionalPackages(),
    minifyWhitespace: true,
    legalComments: 'none',
    sourcemap: 'linked',
    sourcesContent: false,
    metafile: true,
    logLevel: 'warning',
    plugins: [ownLocations(), laterCommonJs()]
  })
  const manifest = await describe(metafile, startedAt)
  await replaceFile(MANIFEST, JSON.stringify(manifest))
  await removeOld(directory)
}

/** What a module learns of its own location is that of its source. */
function ownLocations(): Plugin {
  return {
    name: 'own-locations',
    setup({ onLoad }) {
      onLoad({ filter: /\.(ts|[cm]?js)$/ }, async ({ path }) => {
        // The one module whose location is that of the bundle.
        if (basename(path) === 'bundle-traces.ts') return undefined
        const text = await readFile(path, 'utf8')
        const contents = text
          .replace(/\bimport\.meta\.dirname\b|\b__dirname\b/g, () => JSON.stringify(dirname(path)))
          .replace(/\bimport\.meta\.filename\b|\b__filename\b/g, () => JSON.stringify(path))
          .replace(/\bimport\.meta\.url\b/g, () => JSON.stringify(pathToFileURL(path).href))
        return contents === text ? undefined : { contents, loader: extname(path) === '.ts' ? 'ts' : 'js' }
      })
    }
  }
}

/**
 * Leaves packages in CommonJS that are imported later, with `import()`, to Node: as a chunk, one would only export its
 * default.
 */
function laterCommonJs(): Plugin {
  return {
    name: 'later-commonjs',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /^[^./]/ }, async ({ kind, path, ...from }) => {
        if (kind !== 'dynamic-import' || path.startsWith('node:')) return undefined
        const found = await resolve(path, { ...from, kind: 'import-statement' })
        const isOurs = found.external || found.errors.length > 0 || (await isEsModule(found.path))
        return isOurs ? undefined : { path, external: true }
      })
    }
  }
}

async function isEsModule(path: string): Promise<boolean> {
  if (extname(path) !== '.js') return extname(path) === '.mjs'
  let folder = dirname(path)
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')).type === 'module'
}

/** @throws Error when a file changed after the bundle was begun, which may have used either version */
async function describe(metafile: Metafile, startedAt: number): Promise<BundleManifest> {
  // The lockfile stands for the packages.
  const own = Object.keys(metafile.inputs).filter(path => !path.startsWith('node_modules/'))
  const inputs = await Promise.all(
    [...own, 'package-lock.json'].map(async path => {
      const { mtimeMs, size } = await stat(join(ROOT, path))
      if (mtimeMs >= startedAt) throw new Error(`${path} has just changed: run npm run bundle again`)
      return [path, secondOf(mtimeMs), size] as const
    })
  )
  const programs = Object.fromEntries(
    Object.entries(metafile.outputs).flatMap(([file, { entryPoint }]) => {
      const program = Object.entries(PROGRAMS).find(([, source]) => source === entryPoint)?.[0]
      return program === undefined ? [] : [[program, file]]
    })
  ) as BundleManifest['programs']
  return { root: ROOT, inputs, programs }
}

async function optionalPackages(): Promise<string[]> {
  const { optionalDependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  return Object.keys(optionalDependencies)
}

/** A process that starts meanwhile reads the manifest as it was before, or as it is after. */
async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const own = `${path}.${process.pid}`
  await writeFile(own, text)
  await rename(own, path)
}

async function removeOld(newest: string): Promise<void> {
  const bundles = (await readdir(BUNDLES, { withFileTypes: true })).filter(entry => entry.isDirectory())
  const old = bundles.map(({ name }) => join(BUNDLES, name)).filter(path => path !== newest)
  for (const path of old.toSorted().slice(0, Math.max(0, old.length + 1 - KEPT))) await rm(path, { recursive: true })
}
