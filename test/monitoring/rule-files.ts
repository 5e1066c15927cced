import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { Rules } from './promtool.ts'

const MONITORING = join(import.meta.dirname, '../../monitoring')

/** The recording rules and the alerts, as one. */
export async function readRules(): Promise<Rules> {
  const files = ['recording.yml', 'alerts.yml'].map(async file => parse(await readFile(join(MONITORING, file), 'utf8')))
  return { groups: (await Promise.all(files)).flatMap(({ groups }: Rules) => groups) }
}
