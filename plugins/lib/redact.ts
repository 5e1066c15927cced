/** Credentials in a URL, values after an authorization scheme or a telling name, and self-identifying tokens. */
const SECRETS = new RegExp(
  [
    String.raw`(?<=:\/\/)[^\s/]+(?=@)`,
    String.raw`(?<=\b(?:bearer|basic|flyv1)\s+)\S+`,
    String.raw`(?<=\btoken\s+)(?=\S*\d)\S{6,}`,
    String.raw`(?<=(?:token|password|secret|signature|key)=)[^\s&]+`,
    String.raw`\b(?:gh[a-z]_|github_pat_|rhone_|sk_|whsec_)\w+`
  ].join('|'),
  'gi'
)

/** Keys in PEM, JSON Web Tokens, mail addresses, and long words of letters and digits, most of which are keys. */
const SHAPES = new RegExp(
  [
    String.raw`-----BEGIN [^-]+-----[\s\S]*?(?:-----END [^-]+-----|$)`,
    String.raw`\beyJ[\w-]+\.[\w-]+\.[\w-]*`,
    String.raw`[\w.+-]{1,64}@[\w-]+\.[\w.-]+`,
    String.raw`\b(?=[A-Za-z_]*\d)(?=[\d_]*[A-Za-z])\w{24,}\b`
  ].join('|'),
  'g'
)

/** Values after a telling name in JSON, a header or a sentence. */
const NAMED =
  /((?:token|passw(?:or)?d|secret|signature|api.?key|cookie|authorization)["']?\s*[=:]\s*["']?)[^\s&"',;]+/gi

const REDACTED = '[redacted]'

/** A text without what looks like a secret. */
export const redact = (text: string): string => text.replace(SECRETS, REDACTED)

/** A text for another service, without secrets and personal data, at the price of some harmless words. */
export const redactStrictly = (text: string): string =>
  redact(text.replace(SHAPES, REDACTED)).replace(NAMED, `$1${REDACTED}`)
