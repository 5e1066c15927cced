import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Fragment, Html, html, trusted } from '../../plugins/lib/html.ts'

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom('&', '<', '>', '"', "'", 'a') }))

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }
const unescaped = (markup: string) => markup.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name: string) => NAMED[name]!)

describe('a template', () => {
  it('lets no text out of its place, in an element or in an attribute of either quotes', () => {
    fc.assert(
      fc.property(text, value => {
        const inserted = html`${value}`.toString()
        assert.doesNotMatch(inserted, /[<>"']|&(?!(?:amp|lt|gt|quot|#39);)/)
        assert.equal(unescaped(inserted), value, 'and loses none')
      })
    )
  })

  it('escapes once, however deeply pieces are nested', () => {
    const nested = fc.letrec<{ piece: Fragment }>(tie => ({
      piece: fc.oneof(
        { maxDepth: 3 },
        text,
        fc.array(tie('piece'), { maxLength: 3 }),
        tie('piece').map(inner => html`${inner}`)
      )
    })).piece
    const plain = (piece: Fragment): string => {
      if (piece instanceof Html) return unescaped(piece.toString())
      return Array.isArray(piece) ? piece.map(plain).join('') : String(piece)
    }
    fc.assert(fc.property(nested, piece => assert.equal(unescaped(html`${piece}`.toString()), plain(piece))))
  })

  it('leaves markup as it is, and leaves out nothing at all', () => {
    assert.equal(html`<p>${trusted('<b>')}${[1, html`<i>${'<'}</i>`]}${0}</p>`.toString(), '<p><b>1<i>&lt;</i>0</p>')
    assert.equal(html`${null}${undefined}${false}${''}${[]}`.toString(), '')
  })

  it('takes an object that only looks like markup for no markup', () => {
    const forged = { toString: () => '<script>' } as unknown as Fragment
    assert.throws(() => html`${forged}`)
  })
})
