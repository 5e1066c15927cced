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

/** Builds markup from a template; every inserted value is escaped unless it is markup itself. */
export function html(literals: TemplateStringsArray, ...values: readonly Fragment[]): Html {
  return new Html(String.raw({ raw: literals }, ...values.map(render)))
}

/** Marks a constant of the program as markup. Never use it for external input. */
export function trusted(markup: string): Html {
  return new Html(markup)
}

/** For a page's head. Without it, browsers request an icon that does not exist. */
export const NO_ICON = trusted('<link rel="icon" href="data:,">')

function render(value: Fragment): string {
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.map(render).join('')
  return String(value).replace(/[&<>"']/g, character => ESCAPES[character] as string)
}
