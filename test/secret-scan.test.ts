import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { glob, readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { mintToken } from '../plugins/lib/token.ts'
import { generateKey } from '../src/config/keyring.ts'

const root = resolve(import.meta.dirname, '..')

/** Generated and third-party files, and files outside the repository. */
const SKIPPED = /^(?:\.git|\.rhone|\.cache|node_modules|dist)(?:\/|$)|\/node_modules\/|^package-lock\.json$/
const IS_BINARY = /\.(?:png|jpg|gif|ico|woff2?|gz|tar|age)$/

/** Secrets recognized by their format. */
const FORMS: Readonly<Record<string, RegExp>> = {
  'a private key': /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/]{40}/,
  'an API token of Rhone': /\brhone_[0-9A-Za-z]{38}\b/,
  'a keyring': /\bk\d{8}[\w-]*:[A-Za-z0-9+/]{43}=/,
  'a token of GitHub': /\b(?:gh[oprsu]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59})\b/,
  'a token of Fly': /\bfm[12]r?_[A-Za-z0-9+/=]{60,}/,
  'a key of Stripe': /\b(?:[sr]k_(?:live|test)_[0-9A-Za-z]{24,}|whsec_[0-9A-Za-z]{32,})\b/,
  'a key of AWS': /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/,
  'a token of Slack': /\bxox[abeprs]-[0-9A-Za-z-]{20,}/,
  'a key of Google': /\bAIza[0-9A-Za-z_-]{35}\b/,
  'a signed token': /\beyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{20,}/
}

/** Texts that are a secret if they were drawn at random: how random they are then at least, in bits a character. */
const DRAWN: Readonly<Record<string, { form: RegExp; bits: number }>> = {
  'a password in a URL': {
    form: /\b(?:postgres(?:ql)?|rediss?|https?|smtps?):\/\/[^\s/:@'"`$<{]+:([^\s/:@'"`$<{]{12,})@/g,
    bits: 3
  },
  'a literal beside a name that promises a secret': {
    form: /\b\w*(?:secret|passw(?:or)?d|token|api_?key|private_?key)\w*["']?\s*[:=]\s*["'`]([\w+/=-]{20,})["'`]/gi,
    bits: 4
  }
}

function entropyOf(text: string): number {
  const counts = Object.values(Object.groupBy(text, character => character)).map(found => found!.length)
  return counts.reduce((bits, count) => bits - (count / text.length) * Math.log2(count / text.length), 0)
}

function isDrawn(text: string, bits: number): boolean {
  return /\d/.test(text) && /[a-z]/i.test(text) && entropyOf(text) >= bits
}

/** The apparent secrets of a text, with their lines. */
function secretsIn(text: string): string[] {
  const known = Object.entries(FORMS).flatMap(([what, form]) =>
    [...text.matchAll(new RegExp(form, 'g'))].map(match => ({ what, at: match.index }))
  )
  const drawn = Object.entries(DRAWN).flatMap(([what, { form, bits }]) =>
    [...text.matchAll(form)].filter(([, value = '']) => isDrawn(value, bits)).map(match => ({ what, at: match.index }))
  )
  return [...known, ...drawn].map(({ what, at }) => `line ${text.slice(0, at).split('\n').length}: ${what}`)
}

test('the repository contains no secret', async () => {
  const paths = await Array.fromAsync(glob('**/*', { cwd: root, exclude: path => SKIPPED.test(path) }))
  const dotted = await Array.fromAsync(glob(['.*', '.ci/*', '.github/**/*'], { cwd: root }))
  const found: string[] = []
  let read = 0
  for (const path of [...paths, ...dotted].filter(
    path => !SKIPPED.test(path) && !IS_BINARY.test(path) && path !== '.env'
  )) {
    const text = await readFile(resolve(root, path), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EISDIR') return ''
      throw error
    })
    read += 1
    found.push(...secretsIn(text).map(secret => `${path}, ${secret}`))
  }
  assert.ok(read > 500, `only ${read} files were read`)
  assert.deepEqual(found, [])
})

test('the scan finds secrets', () => {
  const drawn = (length: number) =>
    randomBytes(length * 2)
      .toString('base64')
      .replaceAll(/[+/=]/g, '')
      .slice(0, length)
  const samples: Record<string, string> = {
    'a private key': `-----BEGIN ${'PRIVATE'} KEY-----\n${drawn(64)}\n`,
    'an API token of Rhone': mintToken(),
    'a keyring': generateKey(),
    'a token of GitHub': `ghp_${drawn(36)}`,
    'a token of Fly': `fm2_${drawn(80)}`,
    'a key of Stripe': `sk_${'live'}_${drawn(24)}`,
    'a key of AWS': `AKIA${'ABCDEFGH23456789'}`,
    'a token of Slack': `xoxb-${drawn(24)}`,
    'a key of Google': `AIza${drawn(35)}`,
    'a signed token': `eyJ${drawn(20)}.eyJ${drawn(40)}.${drawn(43)}`,
    'a password in a URL': `postgres://rhone:${drawn(16)}1a@db.example.com/rhone`,
    'a literal beside a name that promises a secret': `const apiKey = '${drawn(40)}1a'`
  }
  assert.deepEqual(Object.keys(samples), [...Object.keys(FORMS), ...Object.keys(DRAWN)])
  for (const [what, sample] of Object.entries(samples))
    assert.ok(secretsIn(`first\n${sample}`).includes(`line 2: ${what}`), `${what}: ${sample}`)
})

test('the scan ignores examples and names', () => {
  for (const harmless of [
    "METRICS_TOKEN: 'CHANGEME'",
    "token: 'a-token-from-a-file'",
    "const tokenHash = 'team_invitations_token_hash_unique'",
    'DATABASE_URL=postgres://rhone:a-long-password@db.example.com/rhone',
    'postgres://rhone:<password>@db.example.com/rhone'
  ])
    assert.deepEqual(secretsIn(harmless), [], harmless)
})
