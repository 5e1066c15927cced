import { randomInt } from 'node:crypto'

const MIN = 3
const MAX = 63
const SUFFIX_LENGTH = 4
const ATTEMPTS = 6
const SUFFIX_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** Host names that the platform needs itself, or that could be mistaken for it. */
const RESERVED: ReadonlySet<string> = new Set(
  (
    'abuse account accounts admin administrator api app apps assets auth autoconfig autodiscover billing blog cdn console ' +
    'dashboard demo dev dns docs email example ftp git github grafana health help hostmaster imap info internal localhost ' +
    'login logout mail media metrics monitor monitoring mta mx new news noc ns1 ns2 oauth ops pop postmaster preview privacy ' +
    'prod production proxy redis register registry rhone root security settings shop signin signup smtp sso staging static ' +
    'stats status store support system team teams terms test webhook webhooks webmail webmaster wpad www'
  ).split(' ')
)

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function isUuid(text: string): boolean {
  return UUID.test(text)
}

/** Includes anything that reads as a UUID: URLs take either, and must be unambiguous. */
export function isReserved(slug: string): boolean {
  return RESERVED.has(slug) || isUuid(slug)
}

/**
 * Makes a slug from a name: one host name label that starts with a letter, with single hyphens and none at the ends. It
 * is always valid, but may be taken or reserved.
 *
 * @param kind the kind of object; used where the name leaves too little
 */
export function slugify(name: string, kind = 'app'): string {
  const slug = name
    .toLowerCase()
    .replace(/[\s_]+/gu, '-')
    .replace(/[^a-z0-9-]/gu, '')
    .replace(/-{2,}/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, MAX)
    .replace(/-$/, '')
  if (slug.length >= MIN) return slug
  return slug === '' ? kind : `${slug}-${kind}`
}

/** Candidates for a name, in turn: its slug, then the same with random suffixes. */
export function* slugCandidates(name: string, kind?: string): Generator<string> {
  const slug = slugify(name, kind)
  if (!isReserved(slug)) yield slug
  for (let attempt = 1; attempt < ATTEMPTS; attempt++) yield withSuffix(slug)
}

/** The same slug with a suffix of four random characters, for when it is taken. */
export function withSuffix(slug: string): string {
  const stem = slug.slice(0, MAX - SUFFIX_LENGTH - 1).replace(/-$/, '')
  let suffix = ''
  while (suffix.length < SUFFIX_LENGTH) suffix += SUFFIX_ALPHABET[randomInt(SUFFIX_ALPHABET.length)]
  return `${stem}-${suffix}`
}
