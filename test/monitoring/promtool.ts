import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A period in which counters grow evenly. */
export interface Phase {
  readonly minutes: number
  /** Growth per minute by series; absent ones are constant. */
  readonly perMinute: Readonly<Record<string, number>>
}

/** The expected alerts for some series. */
export interface AlertCase {
  /** The alert, or the recorded metric. */
  readonly alert: string
  /** What the case shows, in a sentence. */
  readonly that: string
  /** Minutes between samples: 1, and then rules are evaluated twice as often, or more for long windows. */
  readonly step?: number
  /** Counters, by phases; the first sample is 0. */
  readonly counters?: readonly Phase[]
  /** Levels by phases, for metrics recorded from samples that a long step leaves out. */
  readonly levels?: readonly Phase[]
  /** Gauges, in the notation of promtool. */
  readonly gauges?: Readonly<Record<string, string>>
  /** Minutes at which the alert must fire, and at which it must not. */
  readonly fires?: readonly number[]
  readonly silent?: readonly number[]
  /** Recorded values at some minutes, rounded to four digits. */
  readonly recorded?: Readonly<Record<number, number>>
}

/** promtool's notation for every counter of the phases: one sample per step. */
export function counterSeries(phases: readonly Phase[], step: number): { series: string; values: string }[] {
  const names = [...new Set(phases.flatMap(({ perMinute }) => Object.keys(perMinute)))]
  return names.map(series => {
    let total = 0
    const parts = ['0']
    for (const { minutes, perMinute } of phases) {
      const samples = Math.round(minutes / step)
      const growth = (perMinute[series] ?? 0) * step
      parts.push(`${total + growth}+${growth}x${samples - 1}`)
      total += growth * samples
    }
    return { series, values: parts.join(' ') }
  })
}

function levelSeries(phases: readonly Phase[], step: number): { series: string; values: string }[] {
  const names = [...new Set(phases.flatMap(({ perMinute }) => Object.keys(perMinute)))]
  const valuesOf = (series: string) =>
    phases.map(({ minutes, perMinute }) => `${perMinute[series] ?? 0}x${Math.round(minutes / step) - 1}`).join(' ')
  return names.map(series => ({ series, values: valuesOf(series) }))
}

/** The unit test of promtool for a case: whether the alert fires is read from the series that it leaves. */
function unitTest(found: AlertCase): object {
  const {
    alert,
    that,
    step = 1,
    counters = [],
    levels = [],
    gauges = {},
    fires = [],
    silent = [],
    recorded = {}
  } = found
  const expectation = (minute: number, value: number) => ({
    expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) > bool 0 or vector(0)`,
    eval_time: `${Math.round(minute * 60)}s`,
    exp_samples: [{ labels: '{}', value }]
  })
  const values = Object.entries(recorded).map(([minute, value]) => ({
    expr: `round(sum(${alert}), 0.0001)`,
    eval_time: `${Number(minute) * 60}s`,
    exp_samples: [{ labels: '{}', value }]
  }))
  const others = Object.entries(gauges).map(([series, values]) => ({ series, values }))
  return {
    name: `${alert}: ${that}`,
    interval: `${step * 60}s`,
    input_series: [...counterSeries(counters, step), ...levelSeries(levels, step), ...others],
    promql_expr_test: [
      ...fires.map(minute => expectation(minute, 1)),
      ...silent.map(minute => expectation(minute, 0)),
      ...values
    ]
  }
}

/** The parts of a Prometheus rule file that the tests read. */
export interface Rules {
  readonly groups: readonly { readonly name: string; readonly interval?: string; readonly rules: readonly Rule[] }[]
}

export interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly for?: string
  readonly keep_firing_for?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/**
 * Runs cases against rules. Each alert is evaluated with the recording rules alone, for a fraction of the time.
 *
 * @returns the failures that promtool reports; null if all cases have the expected result
 */
export async function checkRules({ groups }: Rules, cases: readonly AlertCase[]): Promise<string | null> {
  const complaints: string[] = []
  for (const [key, alike] of Map.groupBy(cases, ({ alert, step = 1 }) => `${alert} ${step}`)) {
    const { alert, step = 1 } = alike[0]!
    const wanted = groups.map(group => ({
      ...group,
      rules: group.rules.filter(rule => rule.record !== undefined || rule.alert === alert)
    }))
    const complaint = await checkAlert({ groups: wanted.filter(({ rules }) => rules.length > 0) }, alike, step)
    if (complaint !== null) complaints.push(`${key}: ${complaint}`)
  }
  return complaints.join('\n') || null
}

/** All unit tests of a file share the interval in which rules are evaluated; Prometheus looks back five minutes. */
async function checkAlert(rules: Rules, cases: readonly AlertCase[], step: number): Promise<string | null> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-rules-'))
  try {
    const [tests, ruleFile] = [join(directory, 'cases.json'), join(directory, 'rules.json')]
    await writeFile(ruleFile, JSON.stringify(rules))
    const evaluation_interval = step === 1 ? '30s' : '4m'
    // Without it, metrics may be recorded after the alerts that read them.
    const group_eval_order = rules.groups.map(({ name }) => name)
    const file = { rule_files: [ruleFile], evaluation_interval, group_eval_order, tests: cases.map(unitTest) }
    await writeFile(tests, JSON.stringify(file))
    await run('promtool', ['test', 'rules', tests], { maxBuffer: 64 * 1024 ** 2 })
    return null
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as { stdout?: string; stderr?: string; message: string }
    return `${stdout}${stderr}`.replaceAll(/\n\s*\n/g, '\n') || message
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
