const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

/** A piece of markup that is already safe to send. Only {@link html} and {@link trusted} make one. */
export class Html {
  readonly #markup: string

  constructor(markup: string) {
    this.#markup = markup
  }

  toString(): string {
    return this.#markup
  }
}

/** What may stand in a template: text is escaped, markup is not, a list is joined, and nothing at all is left out. */
export type Fragment = string | number | Html | readonly Fragment[] | null | undefined | false

/** Markup from a template in which every inserted value is escaped, unless it is markup itself. */
export function html(literals: TemplateStringsArray, ...values: readonly Fragment[]): Html {
  return new Html(String.raw({ raw: literals }, ...values.map(render)))
}

/** Marks a constant of the program as markup. Never for anything that came from outside. */
export function trusted(markup: string): Html {
  return new Html(markup)
}

/** For the head of a page. Without it, browsers ask for an icon that we do not have. */
export const NO_ICON = trusted('<link rel="icon" href="data:,">')

function render(value: Fragment): string {
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'object') return value.map(render).join('')
  return String(value).replace(/[&<>"']/g, character => ESCAPES[character] as string)
}
