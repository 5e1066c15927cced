import { readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { fileURLToPath } from 'node:url'

/**
 * The first module of a bundle: stack traces name the source files, as they do without a bundle. Node's own option for
 * this, `--enable-source-maps`, parses every map at the start, which takes 38 MB; here each is read when a trace first
 * needs it.
 */

/** The directory that contains the chunks of this bundle and their maps. */
const HERE = new URL('./', import.meta.url).href

/** By URL of a chunk. */
const maps = new Map<string, SourceMap | undefined>()

Error.prepareStackTrace = (error, trace) => [title(error), ...trace.map(frame => `    at ${located(frame)}`)].join('\n')

function title(error: Error): string {
  try {
    return Error.prototype.toString.call(error)
  } catch {
    return '<error>' // as V8 does: its name or message is a getter that throws
  }
}

function located(frame: NodeJS.CallSite): string {
  const text = String(frame)
  const chunk = frame.getFileName()
  const [line, column] = [frame.getLineNumber(), frame.getColumnNumber()]
  if (chunk === null || !chunk.startsWith(HERE) || line === null || column === null) return text
  const origin = mapOf(chunk)?.findOrigin(line, column)
  if (origin === undefined || !('fileName' in origin)) return text
  const { fileName, lineNumber, columnNumber } = origin
  return text.replace(`${chunk}:${line}:${column}`, `${new URL(fileName, chunk).href}:${lineNumber}:${columnNumber}`)
}

function mapOf(chunk: string): SourceMap | undefined {
  if (maps.has(chunk)) return maps.get(chunk)
  const map = readMap(chunk)
  maps.set(chunk, map)
  return map
}

/** Formatting a trace must not throw: without its map, a trace names the chunk. */
function readMap(chunk: string): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${fileURLToPath(chunk)}.map`, 'utf8')))
  } catch {
    return undefined
  }
}
