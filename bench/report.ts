/**
 * Writes the latest results into docs/performance.md, between its two marks. What has no result here, since it was
 * measured elsewhere or earlier, stays as it is.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Figures } from './ratios.ts'
import { type Result, readResults } from './results.ts'
import { scenarios } from './scenarios.ts'

/** The result of a measurement that is not a ratio: tables, to be printed unchanged. */
export interface Tables {
  readonly what: string
  readonly rows: readonly Readonly<Record<string, string | number>>[]
}

interface Ratios {
  readonly what: string
  readonly goal: number | null
  readonly rounds: number
  readonly seconds: number
  readonly connections: number
  readonly figures: Readonly<Record<string, Figures>>
}

const DOCUMENT = join(import.meta.dirname, '../docs/performance.md')
const [BEGIN, END] = ['<!-- figures: written by `npm run bench -- report` -->', '<!-- end of figures -->']

const results = await readResults()
const ratios = scenarios.flatMap(({ name }) => {
  const result = results.get(name) as Result<Ratios> | undefined
  return result === undefined ? [] : [{ name, ...result }]
})
const others = [...results].filter(([name]) => !scenarios.some(scenario => scenario.name === name))

const document = await readFile(DOCUMENT, 'utf8')
const [before, rest] = document.split(BEGIN)
const [known, after] = rest?.split(END) ?? []
if (before === undefined || known === undefined || after === undefined)
  throw new Error(`${DOCUMENT} lacks the marks ${BEGIN} and ${END}`)
const [summary = '', ...sections] = known.split(/^(?=### )/m).map(part => part.trim())
const written = new Map(sections.map(section => [/^### (.*)/.exec(section)![1]!, section]))
for (const [name, result] of others) written.set(name, sectionOf(name, result as Result<Tables>))
const inOrder = [...written].toSorted(([one], [other]) => one.localeCompare(other)).map(([, section]) => section)
const parts = [ratios.length === 0 ? summary : summaryOf(ratios, summary), ...inOrder]
await writeFile(DOCUMENT, `${before}${BEGIN}\n\n${parts.join('\n\n')}\n\n${END}${after}`)

/** @param known the table so far, whose rows stay where nothing was measured */
function summaryOf(measured: readonly ({ name: string } & Result<Ratios>)[], known: string): string {
  const rows = measured.map(({ name, facts: { what, goal, figures } }) => {
    const [baseline, ours] = [Object.values(figures)[0]!, figures.rhone!]
    return {
      scenario: name,
      what,
      baseline: `${round(baseline.cpu, 1)} µs`,
      Rhone: `${round(ours.cpu, 1)} µs`,
      ratio: round(ours.ratio, 2),
      goal: goal === null ? '-' : goal,
      'requests/s': `${Math.round(baseline.throughput)} → ${Math.round(ours.throughput)}`,
      'p50 ms': `${round(baseline.p50, 1)} → ${round(ours.p50, 1)}`,
      'p99 ms': `${round(baseline.p99, 1)} → ${round(ours.p99, 1)}`
    }
  })
  const { machine, day, facts } = measured[0]!
  const [head, rule, ...lines] = tableOf(rows).split('\n')
  const ofScenario = (name: string, among: readonly string[]) => among.find(line => line.startsWith(`| ${name} |`))
  const merged = scenarios.flatMap(({ name }) => ofScenario(name, lines) ?? ofScenario(name, known.split('\n')) ?? [])
  return `${[head, rule, ...merged].join('\n')}

CPU time of the server's process per request, from the kernel's accounting; medians of ${facts.rounds} alternating rounds of
${facts.seconds} s over ${facts.connections} connections. ${placeOf(machine, day)}`
}

function sectionOf(name: string, { machine, day, facts }: Result<Tables>): string {
  return `### ${name}\n\n${facts.what}\n\n${tableOf(facts.rows)}\n\n${placeOf(machine, day)}`
}

function placeOf({ cpu, cores, node, client }: Result['machine'], day: string): string {
  return `Measured on ${day}: ${cpu}, ${cores} cores, Node ${node}, ${client} as the client, on the other core.`
}

function tableOf(rows: readonly Readonly<Record<string, string | number>>[]): string {
  const columns = [...new Set(rows.flatMap(row => Object.keys(row)))]
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`
  return [
    line(columns),
    line(columns.map(() => '---')),
    ...rows.map(row => line(columns.map(column => row[column] ?? '')))
  ].join('\n')
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
