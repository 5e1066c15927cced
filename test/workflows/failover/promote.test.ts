import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { postgresTarget } from '../../../plugins/lib/postgres.ts'
import type { HostReport, HostState } from '../../../plugins/lib/postgres-hosts.ts'
import { type FailoverSettings, planFrom } from '../../../src/workflows/failover/promote.ts'

const STANDBY: HostState = {
  role: 'standby',
  system: '7',
  startedAt: '2030-01-01 00:00:00+00',
  timeline: 3,
  lsn: 1_000n,
  sinceReplay: 20,
  isReceiving: false
}
const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
const silent = Object.assign(new Error('no answer within 5000 ms'), { code: 'CONNECT_TIMEOUT' })

function host(name: string, answer: Partial<HostState> | Error): HostReport {
  const target = postgresTarget(`postgres://rhone@${name}/rhone`)
  const report = { address: `${name}:5432`, target, askedAt: 0 }
  return answer instanceof Error ? { ...report, reason: answer } : { ...report, state: { ...STANDBY, ...answer } }
}

function plan(hosts: readonly HostReport[], settings: Partial<FailoverSettings> & { highest?: number } = {}) {
  const { highest = 0, ...given } = settings
  const fence = { highest: () => highest, raise() {} }
  return planFrom(hosts, { maxLag: 60, seen: null, fence, ...given })
}

/** The primary was seen at a position a number of seconds ago. */
const seenAt = (lsn: bigint, secondsAgo: number, other: Partial<NonNullable<FailoverSettings['seen']>> = {}) => ({
  system: '7',
  timeline: 3,
  lsn,
  at: Date.now() - secondsAgo * 1_000,
  ...other
})

const gone = host('a', refused)

suite('the candidate of rhone failover', () => {
  test('is the most advanced standby on the newest timeline', () => {
    const behind = host('b', { lsn: 900n })
    assert.equal(plan([gone, behind, host('c', {})]).candidate, 'c:5432')
    assert.equal(plan([gone, behind, host('c', {}), host('d', { timeline: 4, lsn: 1n })]).candidate, 'd:5432')
  })

  test('with --to is that standby, if no other one is more advanced', () => {
    const hosts = [gone, host('b', {}), host('c', {}), host('d', { lsn: 900n })]
    assert.equal(plan(hosts, { to: 'c:5432' }).candidate, 'c:5432')
    const { refusal, candidate } = plan(hosts, { to: 'd:5432' })
    assert.equal(refusal, 'b:5432 has changes that d:5432 lacks: promote that one')
    assert.equal(candidate, 'd:5432')
  })

  test('does not exist with --to of an unknown host or of a host that is not a standby', () => {
    const hosts = [gone, host('b', {})]
    assert.equal(plan(hosts, { to: 'x:5432' }).refusal, 'x:5432 is not one of the hosts: a:5432, b:5432')
    assert.equal(plan(hosts, { to: 'a:5432' }).refusal, 'a:5432 does not answer as a standby')
  })

  test('does not exist while a primary answers, even an old one, or a host may be one', () => {
    const standby = host('b', {})
    assert.match(plan([host('a', { role: 'primary' }), standby]).refusal!, /^a:5432 answers as the primary: stop/)
    const old = host('a', { role: 'primary', timeline: 2 })
    assert.match(plan([old, standby]).refusal!, /^a:5432 answers as an old primary/)
    const fenced = plan([host('a', { role: 'primary' }), standby], { highest: 4 })
    assert.match(fenced.refusal!, /^a:5432 answers as an old primary/)
    assert.match(plan([host('a', silent), standby]).refusal!, /^a:5432 is running but does not answer/)
  })

  test('does not exist while the standby receives changes, or without a standby', () => {
    assert.match(plan([gone, host('b', { isReceiving: true })]).refusal!, /still receives changes/)
    assert.match(plan([gone, host('b', refused)]).refusal!, /^no standby answers: restore a backup/)
  })

  test('does not exist if the hosts are copies of different databases', () => {
    const { refusal } = plan([gone, host('b', {}), host('c', { system: '8' })])
    assert.match(refusal!, /are copies of different databases: DATABASE_URL is wrong$/)
  })
})

suite('--max-lag', () => {
  test('limits the lost seconds of changes, counted up to the last contact with the primary', () => {
    // The last change here is 100 s old, and the primary was last seen 10 s ago: 90 s are missing.
    const hosts = [gone, host('b', { sinceReplay: 100 })]
    const { refusal, candidate } = plan(hosts, { seen: seenAt(2_000n, 10) })
    assert.match(
      refusal!,
      /^b:5432 lacks the last 90 s of changes, more than 60 s; to accept the loss, raise --max-lag$/
    )
    assert.equal(candidate, 'b:5432')
    const allowed = plan(hosts, { seen: seenAt(2_000n, 10), maxLag: 91 })
    assert.equal(allowed.refusal, undefined)
    assert.equal(Math.round(allowed.lag!), 90)
  })

  test('does not apply to a standby with all known changes, however old its last change is', () => {
    const { refusal, lag } = plan([gone, host('b', { sinceReplay: 86_400 })], { seen: seenAt(1_000n, 10), maxLag: 0 })
    assert.deepEqual([refusal, lag], [undefined, 0])
  })

  test('does not apply if the primary was never seen, or only that of another database', () => {
    for (const seen of [null, seenAt(2_000n, 10, { system: '8' })]) {
      const { refusal, lag } = plan([gone, host('b', { sinceReplay: 86_400 })], { seen, maxLag: 0 })
      assert.deepEqual([refusal, lag], [undefined, null])
    }
  })

  test('as a number does not suffice for a standby with unknown lag; "any" does', () => {
    const hosts = [gone, host('b', { sinceReplay: null })]
    const seen = seenAt(2_000n, 10)
    const { refusal } = plan(hosts, { seen, maxLag: 9_999_999 })
    assert.match(refusal!, /^b:5432 lacks changes, and has replayed none since its start.*use --max-lag any$/)
    const allowed = plan(hosts, { seen, maxLag: Number.POSITIVE_INFINITY })
    assert.deepEqual([allowed.candidate, allowed.refusal, allowed.lag], ['b:5432', undefined, null])
  })

  test('as a number does not suffice for a standby that has not followed an earlier promotion', () => {
    // Its position is higher, but on the timeline before.
    const hosts = [gone, host('b', { timeline: 2, lsn: 5_000n })]
    const expected =
      /^b:5432 is on timeline 2, and may lack all changes since the promotion to timeline 3; .*--max-lag any$/
    assert.match(plan(hosts, { seen: seenAt(2_000n, 10) }).refusal!, expected)
    assert.match(plan(hosts, { highest: 3 }).refusal!, expected)
    assert.equal(plan(hosts, { highest: 3, maxLag: Number.POSITIVE_INFINITY }).candidate, 'b:5432')
  })

  test('counts no loss if the standby has followed a promotion not seen here', () => {
    const { refusal, lag } = plan([gone, host('b', { timeline: 4, lsn: 1n })], { seen: seenAt(2_000n, 10) })
    assert.deepEqual([refusal, lag], [undefined, 0])
  })
})
