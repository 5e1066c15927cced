import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { inBlocks } from '../../../src/workflows/backups/blocks.ts'

test('parts of any size are collected in blocks, in order, and the last block is shorter', async () => {
  const parts = ['a', 'bcd', 'efghijk', 'lm', 'n'].map(part => Buffer.from(part))
  const blocks: string[] = []
  for await (const block of inBlocks(Readable.from(parts, { objectMode: false }), Buffer.alloc(4)))
    blocks.push(block.toString())
  assert.deepEqual(blocks, ['abcd', 'efgh', 'ijkl', 'mn'])
})

test('a stream that ends with a full block, or at once, has no empty block', async () => {
  const blocks = (text: string) =>
    Array.fromAsync(inBlocks(Readable.from([Buffer.from(text)], { objectMode: false }), Buffer.alloc(4)), String)
  assert.deepEqual(await blocks('abcd'), ['abcd'])
  assert.deepEqual(await Array.fromAsync(inBlocks(Readable.from([]), Buffer.alloc(4))), [])
})

for (const [what, error] of [
  ['fails', new Error('the connection is lost')],
  ['is cut off', undefined]
] as const)
  test(`a stream that ${what} while a block is being used fails the next read instead of hanging`, async () => {
    const stream = new PassThrough()
    stream.write('abcdef')
    const blocks = inBlocks(stream, Buffer.alloc(4))
    assert.equal((await blocks.next()).value?.toString(), 'abcd')
    stream.on('error', () => {})
    const closed = once(stream, 'close').catch(() => {})
    stream.destroy(error)
    await closed
    await assert.rejects(blocks.next(), error ?? /cut off/)
  })
