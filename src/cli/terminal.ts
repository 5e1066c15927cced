import { stripVTControlCharacters } from 'node:util'

/** The terminal that the command line writes to. */
export interface Terminal {
  /** Whether standard output, standard error and standard input are terminals. */
  readonly out: boolean
  readonly err: boolean
  readonly in: boolean
  /** Whether colours may be used where there is a terminal: `NO_COLOR` is unset, and `TERM` is not `dumb`. */
  readonly colour: boolean
  readonly columns: number
}

/** Nothing is a terminal, as when piped. */
export const PLAIN: Terminal = { out: false, err: false, in: false, colour: false, columns: 80 }

export type Colour = 'red' | 'green' | 'yellow' | 'grey'
const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33, grey: 90 }

/** Colours text for standard output; returns it unchanged where colours are off. */
export function painted({ out, colour }: Terminal, hue: Colour, text: string): string {
  return out && colour ? `\u001B[${CODES[hue]}m${text}\u001B[39m` : text
}

/** Everything but line feeds and tabs that a terminal would interpret, and marks that reorder text. */
const UNPRINTABLE = /(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu

/** Foreign text, such as log lines, without anything that could control the terminal. */
export function withoutControls(text: string): string {
  return stripVTControlCharacters(text).replaceAll('\r\n', '\n').replaceAll(UNPRINTABLE, '')
}

/** A line on standard error that is overwritten in place. */
export interface Progress {
  /** Shows another text. Without a terminal, nothing is shown. */
  show(text: string): void
  /** Removes the line. */
  clear(): void
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
/** Milliseconds between two frames of the spinner, and minimum milliseconds between two updates. */
const FRAME = 100

/** A spinner followed by a text, on standard error, if that is a terminal. */
export function spinner(terminal: Terminal, write: (text: string) => void): Progress {
  if (!terminal.err) return { show() {}, clear() {} }
  let timer: NodeJS.Timeout | undefined
  let text = ''
  let frame = 0
  const draw = () => {
    const line = `${FRAMES[frame++ % FRAMES.length]} ${text}`
    write(`\r\u001B[2K${line.slice(0, terminal.columns - 1)}`)
  }
  return {
    show(next) {
      text = next
      timer ??= setInterval(draw, FRAME).unref()
    },
    clear() {
      if (timer === undefined) return
      clearInterval(timer)
      timer = undefined
      write('\r\u001B[2K')
    }
  }
}

/** `[#####     ]  50 %` */
export function bar(share: number, width = 24): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return `[${'#'.repeat(filled)}${' '.repeat(width - filled)}] ${String(Math.round(share * 100)).padStart(3)} %`
}

/** A number of bytes in words: `312 B`, `4.2 MB`. */
export function size(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  const units = ['kB', 'MB', 'GB'] as const
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), units.length)
  const value = bytes / 1_000 ** power
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`
}

/** How long ago: `12s`, `5m`, `3h`, `9d`. A clock that is behind shows `0s`. */
export function age(instant: string, now = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(instant)) / 1_000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`
}
