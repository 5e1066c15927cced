import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Value } from '@sinclair/typebox/value'
import fc from 'fast-check'
import { Slug } from '../../../schemas/apps.ts'
import { isReserved, slugify, withSuffix } from '../../../src/domain/base/slug.ts'

/** Whether the API accepts it. */
const isSlug = (text: string) => Value.Check(Slug, text)

describe('slugify', () => {
  const cases: [name: string, slug: string][] = [
    ['hello', 'hello'],
    ['My Cool App', 'my-cool-app'],
    ['snake_case_name', 'snake-case-name'],
    ['Tabs\tand  many   spaces', 'tabs-and-many-spaces'],
    ['what?! (really)', 'what-really'],
    ['--edges--', 'edges'],
    ['a -- b', 'a-b'],
    ['42nd street', 'nd-street'],
    ['7', 'app'],
    ['Ünïcödé', 'ncd'],
    ['日本語', 'app'],
    ['go', 'go-app'],
    ['x', 'x-app'],
    ['  ', 'app'],
    ['<script>alert(1)</script>', 'scriptalert1script'],
    [`${'a'.repeat(62)}-b`, 'a'.repeat(62)],
    ['b'.repeat(255), 'b'.repeat(63)]
  ]
  for (const [name, slug] of cases)
    test(`makes ${slug} of ${JSON.stringify(name).slice(0, 40)}`, () => assert.equal(slugify(name), slug))

  test('derives a valid slug from any name, and keeps a valid one', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), name => {
        const slug = slugify(name)
        assert.ok(isSlug(slug), slug)
        assert.equal(slugify(slug), slug)
      })
    )
  })
})

describe('the schema of slugs', () => {
  for (const slug of ['abc', 'a-b-c', 'a12', 'a'.repeat(63)])
    test(`accepts ${slug.slice(0, 20)}`, () => assert.ok(isSlug(slug)))
  for (const slug of ['', 'ab', 'a--b', '-abc', 'abc-', '1abc', 'Abc', 'a_b', 'a b', 'ábc', 'a'.repeat(64), 'abc\n'])
    test(`refuses ${JSON.stringify(slug).slice(0, 20)}`, () => assert.ok(!isSlug(slug)))
})

test('a suffix keeps a slug valid and within its length', () => {
  for (const slug of ['abc', 'a'.repeat(63), `${'a'.repeat(57)}-bcdef`]) {
    const suffixed = withSuffix(slug)
    assert.match(suffixed, /-[a-z0-9]{4}$/)
    assert.ok(isSlug(suffixed), suffixed)
  }
})

test('suffixes differ, and use every character about equally often', () => {
  const counts = new Map<string, number>()
  for (let i = 0; i < 9_000; i++)
    for (const character of withSuffix('abc').slice(-4)) counts.set(character, (counts.get(character) ?? 0) + 1)
  assert.equal(counts.size, 36)
  for (const [character, count] of counts) assert.ok(count > 800 && count < 1200, `${character}: ${count}`)
})

test('reserves host names of the platform and anything that reads as a UUID', () => {
  for (const slug of ['www', 'api', 'admin', 'app', 'apps', 'status', 'mail']) assert.ok(isReserved(slug), slug)
  assert.ok(isReserved('abcdef01-1234-4321-8888-123456789abc'))
  assert.ok(!isReserved('hello'))
})
