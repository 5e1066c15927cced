import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PlainTextDecoder, plainText } from '../../../src/domain/base/log-text.ts'
import { Redactor, redacted as redactedExcerpt } from '../../../src/domain/base/redaction.ts'
import { thoroughly } from '../../support/thorough.ts'

/** The output for a text that is split at these positions. */
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

test('secrets never appear in a log, wherever it was split while it was written', () => {
  const secret = fc
    .string({ minLength: 6, maxLength: 40 })
    .filter(text => !/^(\w*|.{0,5})$/.test(plainText(text).trim()))
  const secrets = fc.array(secret, { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(secrets, fc.array(fc.oneof(noise, fc.nat(3)), { maxLength: 30 }), cuts, (hidden, parts, cuts) => {
      const text = parts.map(part => (typeof part === 'number' ? (hidden[part % hidden.length] ?? '') : part)).join('')
      const out = redacted(text, hidden, cuts)
      // The mask itself may stand in a secret.
      for (const secret of hidden.map(plainText))
        if (!'***'.repeat(20).includes(secret)) assert.ok(!out.includes(secret))
    }),
    { numRuns: thoroughly(500, 50_000) }
  )
})

test('the way a text was split makes no difference, except where masks are adjacent', () => {
  const one = (text: string) => text.replaceAll(/(?:\*\*\*)+/g, '***')
  fc.assert(
    fc.property(
      fc.array(noise).map(parts => parts.join('')),
      cuts,
      (text, cuts) => {
        assert.equal(
          one(redacted(text, ['sesame', 'open sesame', 'ses4me'], cuts)),
          one(redacted(text, ['sesame', 'open sesame', 'ses4me']))
        )
      }
    ),
    { numRuns: thoroughly(250, 20_000) }
  )
})

test('the end of a secret stays masked while more text decides whether it begins another one', () => {
  assert.equal(redacted('open sesame, ok', ['open sesame'], [11, 12]), '***, ok')
  assert.equal(redacted('open sesame', ['open sesame', 'sesame street'], [11, 11, 11]), '***')
  assert.equal(redacted('Bearer --Bearer \n', [], [16, 16]), 'Bearer *** \n')
})

test('secrets are masked in every encoding that programs print, after any prefix', () => {
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

test('multi-line secrets are masked as a whole, line by line, and with other line ends', () => {
  const key = '-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n'
  for (const text of [key, key.replaceAll('\n', '\r\n'), key.replaceAll('\n', '\\n'), `x: hkiG9w0BAQEFAASC`])
    assert.doesNotMatch(redacted(text, [key], [10, 30]), /MIIE|hkiG/, JSON.stringify(text))
})

test('a secret interrupted by control sequences is masked', () => {
  assert.equal(redacted('x se\x1b[1msa\x1b[0mme y', ['sesame'], [5, 7, 9]), 'x *** y')
})

test('credentials are recognized by their format', () => {
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

test('a credential is masked even inside or after what looks like the start of another', () => {
  for (const text of [
    `eyJabcdefghij-ghp_${'x'.repeat(20)}`,
    `Bearer Bearer ${'x'.repeat(20)}`,
    `basic a-b-bearer ${'x'.repeat(20)}`
  ])
    assert.doesNotMatch(redacted(text, []), /xxx/, text)
})

test('other text is unchanged', () => {
  const text = 'npm warn 12 packages\n  at /usr/lib/node\nhttps://example.com/a:b/c bearer of news\n'
  assert.equal(redacted(text, ['abc', 'hunter2'], [5, 6, 40]), text)
})

test('control sequences are removed, wherever they were split', () => {
  const text =
    'a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x1b]8;;http://x\x1b\\link\0\u0007c\u202Ed\r\ne\rf\ttab\x9b1m\ud83d\ude00\ud800'
  const plain = plainText(text)
  assert.equal(plain, 'aredblinkcd\ne\nf\ttab1m😀\ufffd')
  fc.assert(fc.property(cuts, cuts => assert.equal(redacted(text, [], cuts), plain)))
})

test('repetitive secrets buffer little text, and are masked completely', () => {
  const out = redacted(
    `x ${'a1'.repeat(50_000)} y`,
    ['a1a1a1a1'],
    Array.from({ length: 200 }, (_, i) => i * 500)
  )
  assert.equal(out.replaceAll(/(?:\*\*\*)+/g, '***'), 'x *** y')
})

test('a plain word is masked only where it stands alone', () => {
  const said = 'live, DELIVERY of main-live to alive2 and lively.live!'
  for (let cut = 0; cut <= said.length; cut++)
    assert.equal(redacted(said, ['live', '12345'], [cut]), '***, DELIVERY of main-*** to alive2 and lively.***!')
  assert.equal(redacted('LIVE 12345 123456', ['LIVE', '12345'], [3, 7]), '*** *** 123456')
})

test('a secret truncated at either end is masked', () => {
  const value = 'sk-0123456789-abcdefghij-ABCDEFGHIJ'
  const excerpt = { isCutAtStart: true, isCutAtEnd: true }
  for (let cut = 4; cut < value.length - 3; cut++) {
    assert.equal(redactedExcerpt(`${value.slice(cut)} at 39`, [value], excerpt), '*** at 39')
    assert.equal(redactedExcerpt(`read ${value.slice(0, cut)}`, [value], excerpt), 'read ***')
  }
  assert.equal(redactedExcerpt('it is as it was', [value], excerpt), 'it is as it was')
})

/**
 * The ratio of the CPU time of two pieces of work: the best of many rounds of both, until it is as expected, because
 * the machine has other load.
 */
function ratioOf(work: () => void, other: () => void, expected: number): number {
  const best = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  const ratio = () => best[0]! / best[1]!
  for (let turn = 0; turn < 3 || (turn < 20 && ratio() > expected); turn++)
    for (const [index, run] of [work, other].entries()) {
      const began = process.cpuUsage()
      run()
      const { user, system } = process.cpuUsage(began)
      best[index] = Math.min(best[index]!, user + system)
    }
  return ratio()
}

const MOST_RATIO = 3
const SIZE = thoroughly(1_048_576, 4_194_304)
const filled = (text: string) => text.repeat(Math.ceil(SIZE / text.length)).slice(0, SIZE)
const HARMLESS = filled('npm warn 12 packages are looking for funding, see https://example.com/x?y=z of 10:41:07\n')

/** Writes in chunks of the size of pipe buffers. */
function readAll(text: string, secrets: readonly string[]): void {
  const redactor = new Redactor()
  for (const secret of secrets) redactor.hide(secret)
  const decoder = new PlainTextDecoder()
  for (let at = 0; at < text.length; at += 65_536) redactor.redact(decoder.decode(text.slice(at, at + 65_536)))
  redactor.redact(decoder.end())
  redactor.end()
}

const withCommonStart = Array.from({ length: 400 }, (_, index) => `${'a'.repeat(600)}${index}`)
const FLOODS: readonly (readonly [string, string, readonly string[]])[] = [
  ['beginnings of tokens', filled('eyJ-'), []],
  ['tokens without an end', filled('eyJaaaaaaaaaaaa.eyJaaaaaaaaaaaa-'), []],
  ['users and passwords without a host', filled('://a:b'), []],
  ['tokens in tokens', filled('eyJaaaaaaaa-ghp_'), []],
  ['announcements of credentials', filled('bearer basic '), []],
  ['escape sequences without an end', filled('\x1b]\x1b[0;0'), []],
  ['one escape sequence without an end', `\x1b]${filled('x')}`, []],
  ['carriage returns', filled('\r'), []],
  ['line breaks', filled('\n'), []],
  ['blanks', filled(' '), []],
  ['one word', filled('x'), []],
  ['beginnings of many long secrets', filled(`${'a'.repeat(599)} `), withCommonStart],
  ['beginnings of secrets without a blank', filled('a'), withCommonStart]
]
for (const [what, flood, secrets] of FLOODS)
  test(`no tenant's text can freeze the control plane: ${what} take no longer than other text`, () => {
    const ratio = ratioOf(
      () => readAll(flood, secrets),
      () => readAll(HARMLESS, secrets),
      MOST_RATIO
    )
    assert.ok(ratio <= MOST_RATIO, `${ratio.toFixed(1)} times as long`)
  })
