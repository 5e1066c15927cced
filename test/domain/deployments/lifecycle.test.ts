import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ACTIVE_DEPLOYMENT_STATUSES, DEPLOYMENT_STATUSES, type DeploymentStatus } from '../../../drizzle/schema.ts'
import {
  BUILD_STATUSES,
  canBecome,
  failureOf,
  isActive,
  isBuilding,
  NEXT_STATUSES
} from '../../../src/domain/deployments/lifecycle.ts'

const ENDS = ['build_failed', 'deploy_failed', 'cancelled', 'superseded'] as const

/** Sequences of allowed transitions from `pending`. */
const lives = fc.array(fc.nat(), { maxLength: 60 }).map(choices => {
  const life: DeploymentStatus[] = ['pending']
  for (const choice of choices) {
    const next = NEXT_STATUSES[life.at(-1)!]
    if (next.length > 0) life.push(next[choice % next.length]!)
  }
  return life
})

test('a deployment goes from pending to live, and is later superseded', () => {
  const way = [
    'pending',
    'cloning',
    'analyzing',
    'building',
    'pushing',
    'built',
    'deploying',
    'live',
    'superseded'
  ] as const
  for (const [index, status] of way.slice(1).entries()) assert.ok(canBecome(way[index]!, status), status)
})

test('exactly the active states can be cancelled and can fail', () => {
  for (const status of DEPLOYMENT_STATUSES) {
    assert.equal(canBecome(status, 'cancelled'), isActive(status), status)
    const fails = canBecome(status, failureOf(status, true)) || canBecome(status, failureOf(status, false))
    assert.equal(fails, isActive(status), status)
    assert.equal(isActive(status), (ACTIVE_DEPLOYMENT_STATUSES as readonly string[]).includes(status))
  }
})

test('a failure always fits its status: before there is an image, the build failed', () => {
  for (const status of ACTIVE_DEPLOYMENT_STATUSES)
    for (const hasImage of [true, false]) {
      const failure = failureOf(status, hasImage)
      if (hasImage || isBuilding(status) || status === 'pending') assert.ok(canBecome(status, failure), status)
      if (isBuilding(status)) assert.equal(failure, 'build_failed')
    }
  assert.equal(failureOf('pending', false), 'build_failed')
  for (const status of ['pending', 'built', 'deploying'] as const)
    assert.equal(failureOf(status, true), 'deploy_failed')
})

test('an interrupted build starts again from cloning', () => {
  for (const status of BUILD_STATUSES) assert.ok(canBecome(status, 'cloning'), status)
  for (const status of ['built', 'deploying', 'live', ...ENDS] as const)
    assert.ok(!canBecome(status, 'cloning'), status)
})

test('no deployment skips the rollout, serves twice, or continues after its end', () => {
  fc.assert(
    fc.property(lives, life => {
      const live = life.indexOf('live')
      if (live >= 0) {
        assert.deepEqual(life.slice(live - 2, live), ['built', 'deploying'])
        assert.equal(life.lastIndexOf('live'), live)
        assert.ok(life.slice(live + 1).every(status => status === 'superseded'))
      }
      const end = life.findIndex(status => (ENDS as readonly string[]).includes(status))
      if (end >= 0) assert.equal(end, life.length - 1)
    })
  )
})

test('the steps of a build occur in order', () => {
  fc.assert(
    fc.property(lives, life => {
      for (const [index, status] of life.entries()) {
        const before = life[index - 1]
        if (before === undefined || !isBuilding(status) || !isBuilding(before) || status === 'cloning') continue
        const rank = (of: DeploymentStatus) => (BUILD_STATUSES as readonly string[]).indexOf(of)
        assert.ok(rank(status) > rank(before), `${before} became ${status}`)
      }
    })
  )
})

test('every status has an entry, and leads to known statuses', () => {
  assert.deepEqual(Object.keys(NEXT_STATUSES).toSorted(), [...DEPLOYMENT_STATUSES].toSorted())
  for (const next of Object.values(NEXT_STATUSES))
    for (const status of next) assert.ok(DEPLOYMENT_STATUSES.includes(status))
})
