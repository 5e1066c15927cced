import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Decrypter, Encrypter } from 'age-encryption'
import { decrypted, encrypted } from '../../../src/workflows/backups/age.ts'
import { makeIdentity, recipientOf } from '../../../src/workflows/backups/sealing.ts'

const PIECE = 64 * 1024
/** Of an encrypted piece. */
const SEALED = PIECE + 16
const LENGTHS = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]

const [identity, other] = [await makeIdentity(), await makeIdentity()]
const [recipient, second] = [await recipientOf(identity), await recipientOf(other)]

async function wholeOf(content: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(content))
}

/** Content in chunks that fit nothing. */
async function* chunksOf(content: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < content.length; at += 50_001) yield content.subarray(at, at + 50_001)
}

const encrypt = (plain: Buffer) => wholeOf(encrypted(chunksOf(plain), [recipient, second]))
const decrypt = (file: Buffer, by = identity) => wholeOf(decrypted(chunksOf(file), [by]))

test('our encryption and the package can decrypt files of each other, of any length', async () => {
  const [encrypter, decrypter] = [new Encrypter(), new Decrypter()]
  encrypter.addRecipient(recipient)
  decrypter.addIdentity(identity)
  for (const length of LENGTHS) {
    const plain = randomBytes(length)
    assert.deepEqual(Buffer.from(await decrypter.decrypt(await encrypt(plain))), plain, `${length} bytes`)
    assert.deepEqual(await decrypt(Buffer.from(await encrypter.encrypt(plain))), plain, `${length} bytes`)
    assert.deepEqual(await decrypt(await encrypt(plain), other), plain, `${length} bytes, by the second key`)
  }
})

test('two files of one content have nothing in common', async () => {
  const [one, two] = [await encrypt(Buffer.alloc(PIECE)), await encrypt(Buffer.alloc(PIECE))]
  assert.notDeepEqual(one.subarray(-SEALED), two.subarray(-SEALED))
})

test('missing, swapped, added or changed chunks are detected, and so are other files', async () => {
  const good = await encrypt(randomBytes(3 * PIECE))
  const start = good.length - 3 * SEALED
  const [head, one, two, three] = [
    good.subarray(0, start),
    ...[0, 1, 2].map(n => good.subarray(start + n * SEALED, start + (n + 1) * SEALED))
  ] as [Buffer, Buffer, Buffer, Buffer]
  const flipped = Buffer.from(good)
  flipped[start - 20]! ^= 1
  for (const [what, parts] of Object.entries({
    'without the last piece': [head, one, two],
    'without a piece': [head, one, three],
    'with pieces exchanged': [head, two, one, three],
    'with a piece twice': [head, one, one, two, three],
    'with an empty piece at its end': [head, one, two, three, Buffer.alloc(16)],
    'without its last byte': [good.subarray(0, -1)],
    'without a payload': [head],
    'with another salt or header': [flipped],
    'of its header alone': [good.subarray(0, 100)],
    empty: []
  }))
    await assert.rejects(decrypt(Buffer.concat(parts)), Error, `a file ${what}`)
  await assert.rejects(decrypt(good, await makeIdentity()), /no identity matched/)
  await assert.rejects(decrypt(randomBytes(2 * 1024 * 1024)), /it is no file of age/)
})
