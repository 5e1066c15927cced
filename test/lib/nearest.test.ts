import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { nearest } from '../../plugins/lib/nearest.ts'

const WORDS = ['name', 'slug', 'githubRepo', 'githubBranch', 'DATABASE_URL', 'REDIS_URL']

test('a misspelt word yields the intended one', () => {
  for (const [typed, meant] of [
    ['Name', 'name'],
    ['nmae', 'name'],
    ['slgu', 'slug'],
    ['github_repo', 'githubRepo'],
    ['githubBranh', 'githubBranch'],
    ['DATABSE_URL', 'DATABASE_URL'],
    ['REDISURL', 'REDIS_URL']
  ] as const)
    assert.equal(nearest(typed, WORDS), meant, typed)
})

test('an unrelated word yields nothing', () => {
  for (const typed of ['colour', '', 'x', 'toString', 'x'.repeat(100_000)])
    assert.equal(nearest(typed, WORDS), undefined, typed)
})

test('one wrong letter in a word of four or more is always forgiven', () => {
  fc.assert(
    fc.property(fc.constantFrom(...WORDS), fc.nat(), fc.constantFrom('q', 'z', '7'), (word, at, letter) => {
      const place = at % word.length
      assert.equal(nearest(word.slice(0, place) + letter + word.slice(place + 1), WORDS), word)
    })
  )
})
