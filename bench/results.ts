import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { basename, join } from 'node:path'
import { CLIENT } from './load.ts'

/** Tests store theirs elsewhere: these are for the report. */
const FOLDER = process.env.BENCH_RESULTS ?? join(import.meta.dirname, 'results')

/** The facts found by a measurement, with the machine and the date. */
export interface Result<Facts = unknown> {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string; readonly client: string }
  readonly day: string
  readonly facts: Facts
}

/** Stores a measurement's result, for the report, until its next run. */
export async function keepResult(name: string, facts: unknown): Promise<void> {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version, client: CLIENT }
  const result: Result = { machine, day: new Date().toISOString().slice(0, 10), facts }
  await mkdir(FOLDER, { recursive: true })
  await writeFile(join(FOLDER, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
}

/** The latest results of all measurements, by name. */
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
