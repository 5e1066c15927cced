import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { basename, join } from 'node:path'
import { CLIENT } from './load.ts'

/** Tests keep theirs elsewhere: these are for the report. */
const FOLDER = process.env.BENCH_RESULTS ?? join(import.meta.dirname, 'results')

/** What a measurement has found, where it was made, and when. */
export interface Result<Facts = unknown> {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string; readonly client: string }
  readonly day: string
  readonly facts: Facts
}

/** Keeps what a measurement has found until the next one of that name, for the report. */
export async function keepResult(name: string, facts: unknown): Promise<void> {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version, client: CLIENT }
  const result: Result = { machine, day: new Date().toISOString().slice(0, 10), facts }
  await mkdir(FOLDER, { recursive: true })
  await writeFile(join(FOLDER, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
}

/** The last results of all measurements, by name. */
export async function readResults(): Promise<Map<string, Result>> {
  const files = (await readdir(FOLDER)).filter(file => file.endsWith('.json')).sort()
  return new Map(
    await Promise.all(
      files.map(
        async file => [basename(file, '.json'), JSON.parse(await readFile(join(FOLDER, file), 'utf8'))] as const
      )
    )
  )
}
