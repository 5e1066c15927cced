import { readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { dirname, resolve } from 'node:path'

/** `import` and `export` with `from`, `import()` in code and in types, and arguments of `requirePackage`. */
const SPECIFIER = /(?:\bfrom |\bimport |\bimport\(\s*|\brequirePackage(?:<[^(]*>)?\([^,]+, )(['"])([^'"\n]+)\1/g

export interface Modules {
  /** Our own modules, by path. */
  readonly files: ReadonlySet<string>
  /** Packages, by name. */
  readonly packages: Set<string>
}

/** Everything that modules need: themselves, and all direct, indirect and dynamic imports. */
export async function modulesFrom(starts: readonly string[]): Promise<Modules> {
  const files = new Set<string>()
  const packages = new Set<string>()
  for (const file of starts) await visit(file)
  return { files, packages }

  async function visit(file: string): Promise<void> {
    if (files.has(file)) return
    files.add(file)
    for (const specifier of specifiersIn(await readFile(file, 'utf8'))) {
      if (specifier.startsWith('.')) await visit(fileOf(resolve(dirname(file), specifier), file))
      else if (!isBuiltin(specifier)) packages.add(packageOf(specifier))
    }
  }
}

/** Removes comments, which may contain import examples. */
function specifiersIn(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '')
  return [...code.matchAll(SPECIFIER)].map(([, , specifier]) => specifier!)
}

/** Declarations refer to the JavaScript that they declare. */
const fileOf = (target: string, from: string) => (from.endsWith('.d.ts') ? target.replace(/\.js$/, '.d.ts') : target)

const packageOf = (specifier: string) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
