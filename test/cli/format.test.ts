import assert from 'node:assert/strict'
import { test } from 'node:test'
import { facts, table } from '../../src/cli/format.ts'
import { ellipsized, padTo, widthOf } from '../../src/cli/width.ts'

test('a text is as wide as a terminal shows it, in any script', () => {
  const widths: [string, number][] = [
    ['', 0],
    ['hello', 5],
    ['Zürich', 6],
    ['Zu\u0308rich', 6],
    ['東京', 4],
    ['한글', 4],
    ['ｆｕｌｌ', 8],
    ['🚀', 2],
    ['👩‍💻', 2],
    ['🇫🇷', 2],
    ['❤️', 2],
    ['a\u200Bb', 2],
    ['\u001B[32mlive\u001B[39m', 4],
    ['עברית', 5]
  ]
  for (const [text, width] of widths) assert.equal(widthOf(text), width, JSON.stringify(text))
  assert.equal(padTo('東', 4), '東  ')
  assert.deepEqual(
    [ellipsized('東京都', 5), ellipsized('東京都', 6), ellipsized('🚀🚀', 2), ellipsized('👩‍💻👩‍💻', 3)],
    ['東京…', '東京都', '…', '👩‍💻…']
  )
})

test('columns are aligned whatever their content', () => {
  const shown = table(
    ['app', 'name'],
    [
      ['a', '東京 shop'],
      ['bb', 'plain'],
      ['🚀', 'rocket']
    ]
  )
  assert.equal(shown, ['APP  NAME', 'a    東京 shop', 'bb   plain', '🚀   rocket'].join('\n'))
  assert.equal(facts({ 名: 'x', name: 'y' }), '名    x\nname  y')
})

test('a terminal gets rows that fit, and a pipe gets everything', () => {
  const rows = [['hello', 'https://hello.apps.example.com/', 'a repository with a long name']]
  const narrow = table(['app', 'url', 'source'], rows, { out: true, columns: 40 }).split('\n')
  for (const line of narrow) assert.ok(widthOf(line) <= 40, line)
  assert.match(narrow[1]!, /^hello {2}https.*…/)
  assert.ok(table(['app', 'url', 'source'], rows, { out: false, columns: 40 }).includes(rows[0]![1]!))
  const tiny = table(['app', 'url', 'source'], rows, { out: true, columns: 5 }).split('\n')
  assert.match(tiny[1]!, /^hello {2}https:/, 'below that, columns would say nothing')
})
