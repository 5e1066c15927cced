import assert from 'node:assert/strict'
import { glob, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, test } from 'node:test'
import fc from 'fast-check'
import { type Fragment, Html, href, html, trusted } from '../../plugins/lib/html.ts'

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom('&', '<', '>', '"', "'", 'a') }))

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }
const unescaped = (markup: string) => markup.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name: string) => NAMED[name]!)

describe('a template', () => {
  it('escapes text in elements and in attributes with either kind of quotes', () => {
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

  it('keeps markup unchanged, and omits empty values', () => {
    assert.equal(html`<p>${trusted('<b>')}${[1, html`<i>${'<'}</i>`]}${0}</p>`.toString(), '<p><b>1<i>&lt;</i>0</p>')
    assert.equal(html`${null}${undefined}${false}${''}${[]}`.toString(), '')
  })

  it('does not mistake an object that looks like markup for markup', () => {
    const forged = { toString: () => '<script>' } as unknown as Fragment
    assert.throws(() => html`${forged}`)
  })
})

describe('href', () => {
  it('keeps links, and drops URLs that run code or open a program', () => {
    for (const url of ['/apps', '#L3', '?q=x', 'https://example.com/', 'http://a.test', 'mailto:a@b.test', '//a.test/'])
      assert.equal(href(url), url)
    for (const url of [
      'javascript:alert(1)',
      ' JavaScript:alert(1)',
      'java\tscript:alert(1)',
      'data:text/html,x',
      'vbscript:x',
      'file:///etc/passwd',
      'http://[',
      '\u0000javascript:x'
    ])
      assert.equal(href(url), '#', JSON.stringify(url))
  })
})

test('no template has an unquoted attribute', async () => {
  const root = join(import.meta.dirname, '../..')
  const files = await Array.fromAsync(glob('{views,plugins,routes}/**/*.ts', { cwd: root }))
  assert.ok(files.length > 50)
  const unquoted: string[] = []
  for (const file of files) {
    const source = await readFile(join(root, file), 'utf8')
    for (const template of source.matchAll(/html`[^`]*`/g))
      if (/<[a-z][^>]*\s[\w-]+=\$\{/.test(template[0])) unquoted.push(`${file}: ${template[0].slice(0, 80)}`)
  }
  assert.deepEqual(unquoted, [])
})
