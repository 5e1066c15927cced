import { type Html, html } from '../../plugins/lib/html.ts'
import { icon } from './icons.ts'

export interface LogLine {
  /** Names the line in links: `#L123`. */
  readonly id: number
  readonly at?: string | null
  readonly level?: string
  readonly text: string
}

export interface Log {
  readonly label: string
  readonly lines: readonly LogLine[]
  /** What follows them live; absent for a log that is over. */
  readonly stream?: string
  /** Where older lines come from, as JSON; absent when all are here. */
  readonly older?: string
  /** The whole log as a file. */
  readonly download?: string
  /** What to say while there is nothing. */
  readonly quiet: string
  /** Added to the numbers of lines in links, on a page with several logs. */
  readonly base?: number
}

/** Control sequences of terminals. Without a script they are left out; with one they become colours. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-_])/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g

/** Text of a program as something to read: what it did to its terminal is left out. */
export function plainText(text: string): string {
  return text.replaceAll(SEQUENCES, '').replaceAll(CONTROLS, '')
}

/** Lines of output. It is complete without a script, which adds following, search, colours and links to lines. */
export function log({ label, lines, stream, older, download, quiet, base = 0 }: Log): Html {
  return html`<section class="log" data-log aria-label="${label}"${stream && html` data-stream="${stream}"`}${older && html` data-older="${older}"`}>
<div class="bar"><strong>${label}</strong><span class="needs-script search">${icon('search')}<input class="input" type="search" data-search aria-label="Search in these lines" placeholder="Search" autocomplete="off" spellcheck="false"></span><span class="hint" data-found role="status"></span><span class="actions end"><button type="button" class="button small needs-script" data-wrap aria-pressed="true">Wrap</button>${stream && html`<button type="button" class="button small needs-script" data-follow aria-pressed="true">Follow</button>`}${download && html`<a class="button small" href="${download}" download>${icon('download')}Download</a>`}</span></div>
<div class="lines wrap" tabindex="0" role="log" aria-label="${label}, lines" aria-live="off">${lines.length > 0 && html`<div class="block">${lines.map(line => logLine({ ...line, id: line.id + base }))}</div>`}</div>
<div class="state" data-state role="status">${lines.length === 0 ? quiet : ''}</div>
</section>`
}

function logLine({ id, at, level = 'info', text }: LogLine): Html {
  return html`<div class="line ${level}" id="L${id}" data-raw="${text}"><a href="#L${id}"${at && html` title="${at}"`}>${at ? at.slice(11, 19) : id}</a><span>${plainText(text) || ' '}</span></div>`
}
