import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PlainTextDecoder, plainText } from '../../../src/domain/base/log-text.ts'
import { Redactor } from '../../../src/domain/base/redaction.ts'
import { thoroughly } from '../../support/thorough.ts'

/** The text as it comes out when it goes in cut at these places. */
function redacted(text: string, secrets: readonly string[], cuts: readonly number[] = []): string {
  const redactor = new Redactor()
  for (const secret of secrets) redactor.hide(secret)
  const decoder = new PlainTextDecoder()
  const places = [...cuts].map(cut => cut % (text.length + 1)).sort((a, b) => a - b)
  const parts = [0, ...places].map((from, index) => text.slice(from, places[index] ?? text.length))
  const out = parts.map(part => redactor.redact(decoder.decode(part))).join('')
  return out + redactor.redact(decoder.end()) + redactor.end()
}

const cuts = fc.array(fc.nat(), { maxLength: 12 })
const noise = fc.oneof(
  fc.string(),
  fc.constantFrom('\n', ' ', '\x1b[31m', '\x1b[0', 'm', '\r\n', '\0', '://', '@', 'Bearer ', '***')
)

test('no secret is in a log, wherever the log was cut while it was written', () => {
  const secret = fc.string({ minLength: 6, maxLength: 40 }).filter(text => plainText(text).trim().length >= 6)
  const secrets = fc.array(secret, { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(secrets, fc.array(fc.oneof(noise, fc.nat(3)), { maxLength: 30 }), cuts, (hidden, parts, cuts) => {
      const text = parts.map(part => (typeof part === 'number' ? (hidden[part % hidden.length] ?? '') : part)).join('')
      const out = redacted(text, hidden, cuts)
      // The mask itself may stand in a secret.
      for (const secret of hidden.map(plainText))
        if (!'***'.repeat(20).includes(secret)) assert.ok(!out.includes(secret))
    }),
    { numRuns: thoroughly(2_000, 50_000) }
  )
})

test('it makes no difference how a text was cut, but where one mask touches another', () => {
  const one = (text: string) => text.replaceAll(/(?:\*\*\*)+/g, '***')
  fc.assert(
    fc.property(
      fc.array(noise).map(parts => parts.join('')),
      cuts,
      (text, cuts) => {
        assert.equal(
          one(redacted(text, ['sesame', 'open sesame'], cuts)),
          one(redacted(text, ['sesame', 'open sesame']))
        )
      }
    ),
    { numRuns: thoroughly(1_000, 20_000) }
  )
})

test('secrets are masked as programs print and encode them, whatever stands before them', () => {
  const secret = 'p@ss/wörd+"quoted" & more'
  const encoded = [
    secret,
    encodeURIComponent(secret),
    new URLSearchParams({ a: secret }).toString(),
    JSON.stringify({ key: secret }),
    Buffer.from(secret).toString('hex'),
    ...['', 'u', 'us', 'user:'].flatMap(before => [
      Buffer.from(before + secret).toString('base64'),
      Buffer.from(before + secret).toString('base64url'),
      Buffer.from(`${before}${secret}\n`).toString('base64')
    ])
  ]
  for (const text of encoded) {
    const out = redacted(`before ${text} after`, [secret], [3, 11, 12, 20])
    assert.match(out, /\*\*\*/, text)
    assert.doesNotMatch(out, /ss.?w|p%40ss|wörd|quoted/, text)
  }
})

test('secrets of many lines are masked as a whole, line by line, and with other ends of lines', () => {
  const key = '-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n'
  for (const text of [key, key.replaceAll('\n', '\r\n'), key.replaceAll('\n', '\\n'), `x: hkiG9w0BAQEFAASC`])
    assert.doesNotMatch(redacted(text, [key], [10, 30]), /MIIE|hkiG/, JSON.stringify(text))
})

test('a secret that a terminal would show in colours, or whole, is masked', () => {
  assert.equal(redacted('x se\x1b[1msa\x1b[0mme y', ['sesame'], [5, 7, 9]), 'x *** y')
})

test('credentials are known by their form', () => {
  const token = `ghs_${'a1B2'.repeat(9)}`
  for (const [text, expected] of [
    [`fatal: ${token} is no`, 'fatal: *** is no'],
    [`https://x-access-token:${token}@github.com/a/b`, 'https://x-access-token:***@github.com/a/b'],
    ['https://me:hunter2hunter2@example.com/', 'https://me:***@example.com/'],
    ['Authorization: Bearer abcdefgh.ijk', 'Authorization: Bearer ***'],
    ['authorization: basic dXNlcjpwYXNz', 'authorization: basic ***'],
    [`github_pat_${'x'.repeat(40)}`, '***'],
    [`rhone_${'x'.repeat(38)}`, '***']
  ] as const)
    for (let cut = 0; cut <= text.length; cut++) assert.equal(redacted(text, [], [cut]), expected)
})

test('what is no secret is left as it is', () => {
  const text = 'npm warn 12 packages\n  at /usr/lib/node\nhttps://example.com/a:b/c bearer of news\n'
  assert.equal(redacted(text, ['abc', 'hunter2'], [5, 6, 40]), text)
})

test('what a terminal would act on is taken out, wherever it was cut', () => {
  const text =
    'a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x1b]8;;http://x\x1b\\link\0\u0007c\u202Ed\r\ne\rf\ttab\x9b1m\ud83d\ude00\ud800'
  const plain = plainText(text)
  assert.equal(plain, 'aredblinkcd\ne\nf\ttab1m😀\ufffd')
  fc.assert(fc.property(cuts, cuts => assert.equal(redacted(text, [], cuts), plain)))
})

test('secrets that repeat themselves hold back little, and are masked for as long as they go on', () => {
  const out = redacted(
    `x ${'ab'.repeat(50_000)} y`,
    ['abababab'],
    Array.from({ length: 200 }, (_, i) => i * 500)
  )
  assert.equal(out.replaceAll(/(?:\*\*\*)+/g, '***'), 'x *** y')
})

test('many long secrets and much text take little time', () => {
  const redactor = new Redactor()
  for (let i = 0; i < 100; i++) redactor.hide(`${i}-${'s3cr3t'.repeat(100)}`)
  const started = performance.now()
  for (let i = 0; i < 500; i++) redactor.redact(`${'some line of a build, as they are\n'.repeat(240)}`)
  assert.ok(performance.now() - started < 10_000)
})
