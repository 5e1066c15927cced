import type { Content } from './port.ts'

/** Cuts content into pieces of exactly `size` bytes; the last one may be shorter. Holds one piece at a time. */
export async function* inPieces(content: Content, size: number): AsyncGenerator<Buffer> {
  let piece = Buffer.allocUnsafeSlow(size)
  let filled = 0
  for await (const chunk of content)
    for (let taken = 0; taken < chunk.length; ) {
      const part = chunk.subarray(taken, taken + size - filled)
      piece.set(part, filled)
      filled += part.length
      taken += part.length
      if (filled < size) continue
      yield piece
      // The receiver may keep the piece.
      piece = Buffer.allocUnsafeSlow(size)
      filled = 0
    }
  if (filled > 0) yield piece.subarray(0, filled)
}
