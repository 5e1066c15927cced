import { html } from '../lib/html.ts'
import { noticePage } from '../lib/notice-page.ts'

const STYLE = `
main { text-align: center }
h1 { margin: 0 0 1rem }
blockquote { margin: 1.5rem 0; white-space: pre-line; overflow-wrap: anywhere }
`

/** Stands for the nonce while a page is made; a nonce is base64, which has no underscore. */
const NONCE = '__nonce__'

/** The page that people see, made once per closure; each reply only puts its nonce in. */
export function maintenancePage(message: string | null): (nonce: string) => string {
  const content = html`<h1>\u{1F527} Under Maintenance</h1>
<p>Rhone is down for scheduled maintenance and will be back shortly.</p>
${message !== null && html`<blockquote>${message}</blockquote>`}
<p>Your apps are still running and serving traffic.</p>`
  const page = noticePage({ title: 'Rhone - Maintenance', content, style: STYLE }, NONCE)
  // Only the first one, which is ours: the message comes after it and may say anything.
  const [before, after] = split(page, NONCE)
  return nonce => before + nonce + after
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return [text.slice(0, at), text.slice(at + separator.length)]
}
