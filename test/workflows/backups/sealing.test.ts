import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import { makeIdentity, opened, recipientOf, sealed } from '../../../src/workflows/backups/sealing.ts'

/** More than the compressor holds back, and incompressible. */
const LARGE = randomBytes(4 * 1024 * 1024)

async function* endless(chunk: Buffer, ended: () => void): AsyncGenerator<Buffer> {
  try {
    for (;;) yield chunk
  } finally {
    ended()
  }
}

/** Reads a part, and stops as a writer does whose disk is full, once the compressor has filled its buffer. */
async function readAPart(content: AsyncIterable<Buffer>, bytes: number): Promise<void> {
  let read = 0
  for await (const chunk of content) {
    read += chunk.length
    if (read <= bytes) continue
    await promisify(zstdCompress)(LARGE)
    return
  }
}

test('a reader that stops while the compressor waits for it ends the source, too', async () => {
  const recipient = await recipientOf(await makeIdentity())
  for (const bytes of [1_000, 300_000, 3_000_000, 5_000_000]) {
    let hasEnded = false
    await readAPart(
      sealed(
        endless(LARGE, () => {
          hasEnded = true
        }),
        [recipient]
      ),
      bytes
    )
    assert.ok(hasEnded, `after ${bytes} bytes`)
  }
})

test('a reader that stops within a large piece that was compressed well ends the source, too', async () => {
  const identity = await makeIdentity()
  const compressed = await Array.fromAsync(sealed([Buffer.alloc(64 * 1024 * 1024)], [await recipientOf(identity)]))
  await readAPart(opened(compressed, [identity]), 1_000_000)
})
