import assert from 'node:assert/strict'
import { test } from 'node:test'
import { slots } from '../src/slots.ts'

const names = slots.map(({ name }) => name)

/** Required order of slots, with the reason. */
const ORDER: readonly [before: string, after: readonly string[], why: string][] = [
  ['errors', ['logging', 'metrics', 'client-ip'], 'nothing may fail unformatted'],
  ['logging', ['metrics', 'client-ip', 'security-headers', 'rate-limit', 'routes'], 'nothing may happen unseen'],
  [
    'openapi',
    ['metrics', 'maintenance', 'health', 'oauth', 'webhooks', 'routes'],
    'it sees only routes that come later'
  ],
  ['metrics', ['cors', 'drain', 'maintenance', 'rate-limit', 'pressure'], 'refusals are counted too'],
  ['objectives', ['drain', 'maintenance', 'rate-limit', 'pressure'], 'refusals break promises'],
  ['database', ['audit', 'maintenance', 'cache', 'session', 'jobs', 'routes'], 'plugins close in reverse'],
  ['redis', ['rate-limit', 'cache'], 'plugins close in reverse'],
  ['client-ip', ['security-headers', 'rate-limit', 'session', 'audit'], 'they ask who is calling'],
  [
    'security-headers',
    ['cors', 'drain', 'startup', 'maintenance', 'rate-limit', 'pressure'],
    'refusals carry them too'
  ],
  ['cors', ['drain', 'maintenance', 'rate-limit', 'pressure'], 'browsers must be able to read refusals'],
  ['drain', ['rate-limit', 'pressure', 'auth'], 'the cheapest refusals come first'],
  ['maintenance', ['rate-limit', 'auth'], 'the cheapest refusals come first'],
  ['rate-limit', ['pressure', 'session', 'access-tokens', 'auth'], 'a flood costs no look-up and fills no line'],
  ['pressure', ['health', 'session', 'auth', 'idempotency'], 'what cannot be served in time costs no look-up'],
  ['session', ['auth'], 'it is a source of credentials'],
  ['access-tokens', ['auth'], 'they are a source of credentials'],
  ['auth', ['csrf', 'rate-limit-user', 'idempotency', 'routes'], 'they ask who is calling'],
  ['csrf', ['idempotency', 'routes'], 'a forged request changes nothing, nor is it recorded'],
  ['rate-limit-user', ['idempotency', 'routes'], 'a refused request is not recorded as done'],
  ['deploying', ['jobs'], 'it brings the queues'],
  ['jobs', ['webhooks', 'routes'], 'what they accept becomes a job']
]

for (const [before, after, why] of ORDER)
  test(`${before} comes before ${after.join(', ')}: ${why}`, () => {
    for (const name of [before, ...after]) assert.ok(names.includes(name), `there is no slot ${name}`)
    for (const name of after) assert.ok(names.indexOf(before) < names.indexOf(name), `${name} comes before ${before}`)
  })

test('no slot occurs twice', () => {
  assert.deepEqual(names, [...new Set(names)])
})
