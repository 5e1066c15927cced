import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { alertCases } from '../monitoring/alert-cases.ts'
import { type AlertCase, checkRules, type Rule, type Rules } from '../monitoring/promtool.ts'
import { readRules } from '../monitoring/rule-files.ts'

const skip = spawnSync('promtool', ['--version']).error ? 'there is no promtool on this machine' : false

const rules = await readRules()
const all = rules.groups.flatMap(group => group.rules)

/** A number that is not part of a name or a quoted label, with its unit if it is a duration. */
const CONSTANT = /(?<![\w.:"~])(\d+(?:\.\d+)?)([smhd]?)(?![\w."])/g
const FACTORS = [0.7, 1.4]

/** Comparisons with zero and one are equivalent if the metric is never in between. */
const EQUIVALENT: readonly RegExp[] = [
  /> 0\)/,
  /== 0/,
  /== 1/,
  /> 0$/,
  /> 0 *\n/,
  /vector\(1\)/,
  /1 - rhone/,
  /probe_ssl.*< 0/,
  /recoverable\) < 1/
]

interface Mutant {
  readonly what: string
  readonly rule: Rule
  readonly mutated: Rule
}

/** A duration that occurs several times in an expression is one constant: the window of a ratio. */
function mutantsOf(rule: Rule): Mutant[] {
  const name = rule.alert ?? rule.record!
  const found: Mutant[] = []
  const done = new Set<string>()
  for (const match of rule.expr.matchAll(CONSTANT)) {
    const [text, number, unit] = match
    const around = rule.expr.slice(Math.max(0, match.index - 30), match.index + text.length + 3)
    if (Number(number) === 0 || done.has(text) || EQUIVALENT.some(pattern => pattern.test(around))) continue
    if (unit) done.add(text)
    for (const factor of FACTORS) {
      const value = unit ? `${seconds(number!, unit) * factor}s` : String(Number(number) * factor)
      const expr = unit
        ? rule.expr.replaceAll(`[${text}]`, `[${value}]`)
        : rule.expr.slice(0, match.index) + value + rule.expr.slice(match.index + text.length)
      found.push({ what: `${name}: ${text} -> ${value} in ${around}`, rule, mutated: { ...rule, expr } })
    }
  }
  for (const key of ['for', 'keep_firing_for'] as const) {
    const [, number, unit] = /^(\d+)([smhd])$/.exec(rule[key] ?? '') ?? []
    if (number === undefined) continue
    for (const factor of [0.4, 2.5]) {
      const value = `${seconds(number, unit!) * factor}s`
      found.push({ what: `${name}: ${key} ${rule[key]} -> ${value}`, rule, mutated: { ...rule, [key]: value } })
    }
  }
  return found
}

const seconds = (number: string, unit: string) => Number(number) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit]!

/** The cases that must detect a change of a rule: its own, or those of all alerts that read what it records. */
function casesFor({ alert, record }: Rule): readonly AlertCase[] {
  if (alert !== undefined) return alertCases.filter(found => found.alert === alert)
  const names = all.filter(rule => rule.alert && dependsOn(rule, record!)).map(rule => rule.alert)
  return alertCases.filter(found => found.alert === record || names.includes(found.alert))
}

function dependsOn(rule: Rule, record: string): boolean {
  if (rule.expr.includes(record)) return true
  return all.some(other => other.record && rule.expr.includes(other.record) && other.expr.includes(record))
}

const withMutant = ({ rule, mutated }: Mutant): Rules => ({
  groups: rules.groups.map(group => ({ ...group, rules: group.rules.map(found => (found === rule ? mutated : found)) }))
})

/** Only the rules that decide these cases, since every rule is evaluated at every step. */
function deciding({ groups }: Rules, cases: readonly AlertCase[]): Rules {
  const known = groups.flatMap(group => group.rules)
  const wanted = new Set(known.filter(({ alert, record }) => cases.some(found => found.alert === (alert ?? record))))
  // Iteration over a set includes members that are added meanwhile.
  for (const { expr } of wanted)
    for (const rule of known) if (rule.record !== undefined && expr.includes(rule.record)) wanted.add(rule)
  const kept = groups.map(group => ({ ...group, rules: group.rules.filter(rule => wanted.has(rule)) }))
  return { groups: kept.filter(group => group.rules.length > 0) }
}

/** Number of evaluations that a case needs. */
function costOf({ step = 1, fires = [], silent = [], recorded = {} }: AlertCase): number {
  return Math.max(...fires, ...silent, ...Object.keys(recorded).map(Number)) / (step === 1 ? 0.5 : 4)
}

const totalCost = (cases: readonly AlertCase[]) => cases.reduce((sum, found) => sum + costOf(found), 0)

/** Whether any case has a different result. The cheap ones are tried first. */
async function isNoticed(mutant: Mutant): Promise<boolean> {
  const alike = Map.groupBy(casesFor(mutant.rule), ({ alert, step = 1 }) => `${alert} ${step}`)
  for (const cases of [...alike.values()].toSorted((a, b) => totalCost(a) - totalCost(b)))
    if ((await checkRules(deciding(withMutant(mutant), cases), cases)) !== null) return true
  return false
}

describe('the alert rules', { skip }, () => {
  it('fire exactly when they should', { timeout: 900_000 }, async () => {
    for (const [, cases] of Map.groupBy(alertCases, ({ alert, step }) => `${alert} ${step}`))
      assert.equal(await checkRules(deciding(rules, cases), cases), null)
  })

  it('have a case for every constant', { timeout: 1_700_000 }, async () => {
    const survivors: string[] = []
    const mutants = all.flatMap(mutantsOf)
    assert.ok(mutants.length > 150, `${mutants.length} mutants`)
    const work = mutants.values()
    const worker = async () => {
      for (const mutant of work) if (!(await isNoticed(mutant))) survivors.push(mutant.what)
    }
    await Promise.all([worker(), worker()])
    assert.deepEqual(survivors, [])
  })
})
