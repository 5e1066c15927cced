import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { negotiate, preferred } from '../../plugins/lib/negotiate.ts'

const TYPES = ['application/json', 'application/problem+json', 'text/html', 'text/plain', '*/*', 'text/*'] as const
const OFFERED = ['application/json', 'text/html', 'text/plain'] as const

/** Random Accept headers, with the weight of each type. */
const header = fc
  .uniqueArray(
    fc.record({
      type: fc.constantFrom(...TYPES),
      weight: fc.option(fc.integer({ min: 0, max: 10 }), { nil: null }),
      space: fc.constantFrom('', ' ', '\t'),
      isUpper: fc.boolean(),
      extra: fc.constantFrom('', ';charset=utf-8', ';level=1')
    }),
    { selector: ({ type }) => type }
  )
  .map(ranges => ({
    text: ranges
      .map(({ type, weight, space, isUpper, extra }) => {
        const name = isUpper ? type.toUpperCase() : type
        return `${space}${name}${extra}${weight === null ? '' : `;${space}q=${weight / 10}`}`
      })
      .join(','),
    weightOf: (type: string) => {
      const range = ranges.find(found => found.type === type)
      return range === undefined ? 0 : (range.weight ?? 10) / 10
    }
  }))

describe('the preferred type', () => {
  it('is the named type with the highest weight, the first among equals', () => {
    fc.assert(
      fc.property(header, ({ text, weightOf }) => {
        const most = Math.max(...OFFERED.map(weightOf))
        assert.equal(
          preferred(text, OFFERED),
          OFFERED.find(type => weightOf(type) === most)
        )
      })
    )
  })

  it('is always one of the offered types, for any header', () => {
    fc.assert(
      fc.property(fc.option(fc.string({ unit: 'binary', maxLength: 1_500 }), { nil: undefined }), text => {
        assert.ok(OFFERED.includes(preferred(text, OFFERED)))
      })
    )
    for (const odd of [
      'text/html;q=NaN',
      'text/html;q=-1',
      'text/html;q=',
      'text/html;q=0',
      `text/html,${'a'.repeat(1_000)}`
    ])
      assert.equal(preferred(odd, OFFERED), 'application/json', odd.slice(0, 40))
  })
})

describe('the format of errors', () => {
  it('is JSON unless a page or a problem has at least the same weight', () => {
    fc.assert(
      fc.property(header, fc.boolean(), ({ text, weightOf }, mayBePage) => {
        const [json, problem, page] = [TYPES[0], TYPES[1], TYPES[2]].map(weightOf) as [number, number, number]
        const expected = mayBePage && page > json ? 'page' : problem > 0 && problem >= json ? 'problem' : 'json'
        assert.equal(negotiate(text, mayBePage), expected)
      })
    )
  })

  it('is JSON for wildcards, which programs send, and without an Accept header', () => {
    for (const accept of [undefined, '', '*/*', 'text/*', 'application/*;q=1', 'x'.repeat(1_001)])
      assert.equal(negotiate(accept, true), 'json', accept?.slice(0, 20))
  })

  it('is a page for a browser', () => {
    assert.equal(negotiate('text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', true), 'page')
    assert.equal(negotiate('text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', false), 'json')
  })
})
