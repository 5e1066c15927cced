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
  /** The URL of the live stream; absent for a finished log. */
  readonly stream?: string
  /** The URL of the whole log as a file. */
  readonly download?: string
  /** The text while the log is empty. */
  readonly quiet: string
  /** Added to line numbers in links, on a page with several logs. */
  readonly base?: number
  /** The page that shows a line by its number among its neighbours. */
  readonly context?: string
  /** The target of a line's link, if not the line itself. */
  readonly linkOf?: (id: number) => string
}

const ESCAPE = '\u001b'
/** Lines per block. */
const BLOCK = 250

/** Terminal control sequences. Without a script they are removed; with one they become colours. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-_])/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/
const CONTROLS = new RegExp(CONTROL, 'g')

/** A program's output as readable text, without terminal control sequences. */
export function plainText(text: string): string {
  // Most lines have none, and looking is cheaper than replacing.
  return CONTROL.test(text) ? withoutControls(text) : text
}

function withoutControls(text: string): string {
  return text.replaceAll(SEQUENCES, '').replaceAll(CONTROLS, '')
}

/** Lines of output. Complete without a script, which adds following, search, colours and links to lines. */
export function log({ label, lines, stream, download, quiet, base = 0, context, linkOf = id => `#L${id}` }: Log): Html {
  const hasTimes = lines.some(({ at }) => at) || context !== undefined
  return html`<section class="log" data-log aria-label="${label}"${stream && html` data-stream="${stream}"`}${context && html` data-context="${context}"`}>
<div class="bar"><strong>${label}</strong><span class="needs-script search">${icon('search')}<input class="input" type="search" data-search aria-label="Search in these lines" placeholder="Search these lines" autocomplete="off" spellcheck="false"></span><span class="hint" data-found role="status"></span><span class="actions end">${hasTimes && html`<button type="button" class="button small needs-script" data-zone>UTC</button>`}<button type="button" class="button small needs-script" data-wrap aria-pressed="true">Wrap</button>${stream && html`<button type="button" class="button small needs-script" data-follow aria-pressed="true">Follow</button>`}${download && html`<a class="button small" href="${download}" download>${icon('download')}Download</a>`}</span></div>
<p class="gap" data-cut hidden>The oldest lines were left out here.</p>
<div class="lines wrap" tabindex="0" role="log" aria-label="${label}, lines" aria-live="off">${blocksOf(lines).map(block => html`<div class="block">${block.map(line => logLine({ ...line, id: line.id + base }, linkOf))}</div>`)}</div>
<div class="state" role="status"><span data-words>${lines.length === 0 ? quiet : ''}</span><button type="button" class="button small" data-jump hidden></button></div>
</section>`
}

/** Blocks outside the viewport are not laid out. */
function blocksOf(lines: readonly LogLine[]): readonly LogLine[][] {
  const count = Math.ceil(lines.length / BLOCK)
  return Array.from({ length: count }, (_, at) => lines.slice(at * BLOCK, (at + 1) * BLOCK))
}

function logLine({ id, at, level = 'info', text }: LogLine, linkOf: (id: number) => string): Html {
  const plain = plainText(text)
  return html`<div class="line ${level}" id="L${id}"${text.includes(ESCAPE) && html` data-raw="${text}"`}><a href="${linkOf(id)}"${at && html` title="${at}"`}>${at ? at.slice(11, 19) : id}</a><span>${plain || ' '}</span></div>`
}
