import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { choosePrimary, type HostReport, type HostState } from '../../plugins/lib/postgres-hosts.ts'

const host = (address: string, state?: Partial<HostState>): HostReport => ({
  address,
  target: postgresTarget(`postgres://u@${address}/db`),
  askedAt: 0,
  ...(state === undefined
    ? { reason: new Error('refused') }
    : {
        state: {
          role: 'primary',
          system: '7',
          startedAt: address,
          timeline: 1,
          lsn: 0n,
          sinceReplay: null,
          isReceiving: false,
          ...state
        }
      })
})
const chosen = (reports: HostReport[], highest = 0) => choosePrimary(reports, () => highest)

suite('the primary among several hosts', () => {
  test('is the one that is not a standby', () => {
    const { primary } = chosen([host('a:1', { role: 'standby' }), host('b:1', {}), host('c:1')])
    assert.equal(primary?.address, 'b:1')
  })

  test('is the one on the highest timeline', () => {
    assert.equal(chosen([host('a:1', {}), host('b:1', { timeline: 2 })]).primary?.address, 'b:1')
  })

  test('is never one that a standby has overtaken', () => {
    const { refusal } = chosen([host('a:1', {}), host('b:1', { role: 'standby', timeline: 2 })])
    assert.match(refusal!, /a:1 was replaced by a promotion/)
  })

  test('is never below the highest timeline ever seen', () => {
    assert.match(chosen([host('a:1', {}), host('b:1')], 2).refusal!, /a:1 was replaced by a promotion/)
    assert.equal(chosen([host('a:1', { timeline: 2 })], 2).primary?.address, 'a:1')
  })

  test('is undecided between two on the same timeline, or of two systems', () => {
    for (const other of [{}, { system: '8' }, { system: '8', timeline: 3 }])
      assert.match(chosen([host('a:1', {}), host('b:1', other)]).refusal!, /both a:1 and b:1 accept writes/)
  })

  test('may be named twice, under two addresses', () => {
    assert.equal(chosen([host('a:1', { startedAt: 'x' }), host('b:1', { startedAt: 'x' })]).primary?.address, 'a:1')
  })

  test('is missing for a reason that names the hosts', () => {
    assert.match(chosen([host('a:1'), host('b:1')]).refusal!, /none of a:1, b:1 answers/)
    assert.match(chosen([host('a:1'), host('b:1', { role: 'standby' })]).refusal!, /b:1 is a standby/)
  })
})
