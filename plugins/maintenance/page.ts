import { html, trusted } from '../lib/html.ts'
import { noticePage } from '../lib/notice-page.ts'
import type { MaintenanceState } from './state.ts'

/** The texts of the page, common to all closures. */
export interface PageTexts {
  readonly title: string
  readonly heading: string
  /** The operator's message follows the first one. */
  readonly sentences: readonly string[]
  /** `{until}` marks the place of the time. */
  readonly untilSentence: string
}

/** The content of a page, for apps that render their own. */
export type Closure = Pick<MaintenanceState, 'message' | 'until'>

/**
 * Renders a custom page; `nonce` lets its styles and scripts through the Content-Security-Policy. Undefined: the plain
 * page.
 */
export type RenderPage = (closure: Closure, nonce: string) => string | undefined

const STYLE = `
main { text-align: center }
svg { width: 3rem; height: 3rem }
h1 { margin: 0.5rem 0 1rem }
blockquote { margin: 1.5rem 0; white-space: pre-line; overflow-wrap: anywhere }
`

/** Drawn, because emoji look different on every system. */
const WRENCH = trusted(
  '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" aria-hidden="true"><path d="M15 6.5a4.5 4.5 0 0 1 5.7-4.3l-2.9 2.9 1.1 1.1 2.9-2.9a4.5 4.5 0 0 1-5.9 5.6L7.6 17.2a2.6 2.6 0 1 1-3.7-3.7l8.3-8.3"/></svg>'
)

/** Placeholder for the nonce while a page is rendered; a nonce is base64, which has no underscore. */
const NONCE = '__nonce__'

/** The page of one closure, rendered once; each reply only inserts its nonce. */
export function maintenancePage(texts: PageTexts, { message, until }: Closure): (nonce: string) => string {
  const { title, heading, sentences, untilSentence } = texts
  const [first, ...others] = sentences.map(sentence => html`<p>${sentence}</p>\n`)
  const content = html`${WRENCH}
<h1>${heading}</h1>
${first}${message !== null && html`<blockquote>${message}</blockquote>\n`}${until !== null && untilLine(untilSentence, until)}${others}`
  // Only the first placeholder is ours: the texts follow it and may contain anything.
  const [before, after] = split(noticePage({ title, content, style: STYLE }, NONCE), `<style nonce="${NONCE}`, NONCE)
  return nonce => before + nonce + after
}

/** To the minute, in UTC, since readers are in any time zone. */
function untilLine(sentence: string, until: string) {
  const [before = '', after = ''] = sentence.split('{until}', 2)
  const minute = `${until.slice(0, 10)} ${until.slice(11, 16)} UTC`
  return html`<p>${before}<time datetime="${until}">${minute}</time>${after}</p>\n`
}

/** Splits the text around `part`, which ends `mark`, and returns both sides. */
function split(text: string, mark: string, part: string): [string, string] {
  const end = text.indexOf(mark) + mark.length
  return [text.slice(0, end - part.length), text.slice(end)]
}
