import type { Readable } from 'node:stream'

/**
 * Collects what a stream delivers in small parts. Iterating over it would allocate memory for them once more.
 * @param block is filled and yielded again and again
 * @throws the error of the stream, even one that comes while a block is being used; Error when it is cut off
 */
export async function* inBlocks(stream: Readable, block: Buffer): AsyncGenerator<Buffer> {
  let filled = 0
  let hasEnded = false
  let failure: Error | undefined
  let wake = () => {}
  stream.on('data', (part: Buffer) => {
    const taken = part.copy(block, filled)
    filled += taken
    if (filled < block.length) return
    stream.pause()
    if (taken < part.length) stream.unshift(part.subarray(taken))
    wake()
  })
  stream.once('end', () => {
    hasEnded = true
    wake()
  })
  stream.once('error', error => {
    failure = error
    wake()
  })
  stream.once('close', () => {
    if (!hasEnded) failure ??= new Error('the stream was cut off')
    wake()
  })
  try {
    while (!hasEnded) {
      if (failure === undefined) {
        filled = 0
        await new Promise<void>(resolve => {
          wake = resolve
          stream.resume()
        })
      }
      if (failure !== undefined) throw failure
      if (filled > 0) yield block.subarray(0, filled)
    }
  } finally {
    stream.destroy()
  }
}
