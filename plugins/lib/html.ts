const SPECIAL = /[&<>"']/
const ALL_SPECIAL = /[&<>"']/g
const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

/** Markup that is safe to send. Only {@link html} and {@link trusted} create it. */
export class Html {
  readonly #markup: string

  constructor(markup: string) {
    this.#markup = markup
  }

  toString(): string {
    return this.#markup
  }
}

/** A template value: text is escaped, markup is not, lists are joined, and null, undefined and false are omitted. */
export type Fragment = string | number | Html | readonly Fragment[] | null | undefined | false

/**
 * Builds markup from a template; every inserted value is escaped unless it is markup itself. Attributes must be quoted,
 * since a blank would end an unquoted one, and URLs from outside go through {@link href}.
 */
export function html(literals: TemplateStringsArray, ...values: readonly Fragment[]): Html {
  let markup = literals[0] as string
  for (let at = 0; at < values.length; at++) markup += render(values[at]) + literals[at + 1]
  return new Html(markup)
}

/** Marks a constant of the program as markup. Never use it for external input. */
export function trusted(markup: string): Html {
  return new Html(markup)
}

/** An arbitrary base, for parsing relative URLs as browsers do. */
const BASE = 'http://here.invalid'
const LINKABLE: ReadonlySet<string> = new Set(['http:', 'https:', 'mailto:'])

/** A URL from outside as the value of an `href`: `#` in place of one that would run a script or open a program. */
export function href(url: string): string {
  const parsed = URL.parse(url, BASE)
  return parsed !== null && LINKABLE.has(parsed.protocol) ? url : '#'
}

/** For a page's head. Without it, browsers request an icon that does not exist. */
export const NO_ICON = trusted('<link rel="icon" href="data:,">')

function render(value: Fragment): string {
  if (typeof value === 'string') return escaped(value)
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'number') return String(value)
  if (!Array.isArray(value)) throw new TypeError('only text, numbers, markup and lists of these can be inserted')
  let markup = ''
  for (const part of value) markup += render(part)
  return markup
}

/** Most text has nothing to escape, and looking is cheaper than replacing. */
function escaped(text: string): string {
  return SPECIAL.test(text) ? text.replace(ALL_SPECIAL, character => ESCAPES[character] as string) : text
}
