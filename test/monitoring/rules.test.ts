import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { severityTable, withSeverities } from '../../monitoring/severities.ts'
import { alertCases } from './alert-cases.ts'
import { readRules } from './rule-files.ts'

const rules = await readRules()
const alerts = rules.groups.flatMap(({ rules }) => rules).filter(({ alert }) => alert !== undefined)
const nameOf = ({ alert = '' }: { alert?: string }) => alert

test('every alert has a case in which it fires, and all except the watchdog one in which it does not', () => {
  for (const name of alerts.map(nameOf)) {
    const own = alertCases.filter(({ alert }) => alert === name)
    assert.ok(
      own.some(({ fires }) => fires?.length),
      `${name} is never seen firing`
    )
    if (name === 'Watchdog') continue
    assert.ok(
      own.some(({ silent }) => silent?.length),
      `${name} is never seen silent`
    )
  }
})

const RESPONSE_MINUTES: Readonly<Record<string, string>> = {
  critical: '5',
  high: '15',
  medium: '30',
  low: '1440',
  none: '5'
}

test('every alert has a severity, a response time and a runbook link', () => {
  const names = alerts.map(nameOf)
  assert.deepEqual(
    names.filter((name, index) => names.indexOf(name) < index),
    [],
    'no name is there twice'
  )
  for (const { alert = '', labels = {}, annotations = {} } of alerts) {
    assert.equal(labels.response_minutes, RESPONSE_MINUTES[labels.severity!], alert)
    assert.ok(annotations.summary && annotations.description, alert)
    assert.equal(annotations.runbook_url, `docs/RUNBOOK.md#${alert.toLowerCase()}`)
  }
})

test('ON-CALL lists the severities of the rules', async () => {
  const page = await readFile(join(import.meta.dirname, '../../docs/ON-CALL.md'), 'utf8')
  assert.equal(page, withSeverities(page, await severityTable()), 'run npm run dashboards')
  assert.ok(page.includes('[ServiceDown](RUNBOOK.md#servicedown)'))
})
