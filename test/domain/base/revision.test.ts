import assert from 'node:assert/strict'
import { test } from 'node:test'
import { entityTag, expectedVersion, isKnown } from '../../../src/domain/base/revision.ts'

const app = { id: '6f1c1d9e-0000-4000-8000-000000000001', version: 3 }
const tag = entityTag(app)
const isStale = { code: 'PRECONDITION_FAILED' }

test('a tag is strong and quoted, and differs by version and by id', () => {
  assert.match(tag, /^"[\x21\x23-\x7e]+"$/)
  assert.notEqual(entityTag({ ...app, version: 4 }), tag)
  assert.notEqual(entityTag({ ...app, id: 'aaaaaaaa-0000-4000-8000-000000000001' }), tag)
})

test('If-Match requires the version of its tag', () => {
  assert.equal(expectedVersion(tag, app), 3)
  assert.equal(expectedVersion(` "other" , ${tag}`, app), 3)
})

test('without If-Match, or with a star, any version is accepted', () => {
  assert.equal(expectedVersion(undefined, app), undefined)
  assert.equal(expectedVersion(' * ', app), undefined)
})

test('If-Match refuses stale and weak tags', () => {
  assert.throws(() => expectedVersion(entityTag({ ...app, version: 2 }), app), isStale)
  assert.throws(() => expectedVersion(`W/${tag}`, app), isStale)
  assert.throws(() => expectedVersion('""', app), isStale)
})

test('If-None-Match matches its tag, weak or strong, alone or in a list', () => {
  for (const header of [tag, `W/${tag}`, `"other", ${tag}`, '*']) assert.ok(isKnown(header, app), header)
  for (const header of [undefined, '"other"', entityTag({ ...app, version: 2 })]) assert.ok(!isKnown(header, app))
})
