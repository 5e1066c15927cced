/** Builds `dist/`: the package's exports as JavaScript with declarations. Arguments are passed to the compiler. */
import { execFileSync } from 'node:child_process'
import { cp, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { finishDeclarations } from './declarations.ts'

const ROOT = join(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

await rm(DIST, { recursive: true, force: true })
await mkdir(join(DIST, 'drizzle'), { recursive: true })
await cp(join(ROOT, 'drizzle/migrations'), join(DIST, 'drizzle/migrations'), { recursive: true })
await cp(join(ROOT, 'public'), join(DIST, 'public'), { recursive: true })
execFileSync(process.execPath, [TSC, '-p', 'tsconfig.build.json', ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: 'inherit'
})
await finishDeclarations(DIST)
