import assert from 'node:assert/strict'
import { createDecipheriv, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { type Sealed, SecretBox } from '../../../src/domain/base/secret-box.ts'

const ring = (...ids: [string, ...string[]]) => {
  const keys = new Map(ids.map(id => [id, randomBytes(32)]))
  return { current: { id: ids[0], key: keys.get(ids[0])! }, keys }
}
const owner = { appId: '6f1c1d9e-0000-4000-8000-000000000001', key: 'API_KEY' }

test('decrypts any text that it encrypted', () => {
  const box = new SecretBox(ring('a'))
  for (const text of ['', 'secret', 'žluťoučký 🐎', 'x'.repeat(65_536)])
    assert.equal(box.open(box.seal(text, owner), owner), text)
})

test('encrypts with AES-256-GCM, a nonce of 12 bytes and an appended tag, bound to app_id|key', () => {
  const keys = ring('a')
  const { keyId, nonce, ciphertext } = new SecretBox(keys).seal('secret', owner)
  assert.equal(keyId, 'a')
  assert.equal(nonce.length, 12)
  assert.equal(ciphertext.length, 'secret'.length + 16)
  assert.ok(!ciphertext.includes('secret'))

  const decipher = createDecipheriv('aes-256-gcm', keys.current.key, nonce)
  decipher.setAAD(Buffer.from(`${owner.appId}|API_KEY`)).setAuthTag(ciphertext.subarray(-16))
  assert.equal(decipher.update(ciphertext.subarray(0, -16), undefined, 'utf8') + decipher.final('utf8'), 'secret')
})

test('never uses a nonce twice', () => {
  const box = new SecretBox(ring('a'))
  const nonces = Array.from({ length: 1000 }, () => box.seal('same', owner).nonce.toString('hex'))
  assert.equal(new Set(nonces).size, 1000)
})

test('encrypts with the newest key and decrypts with older ones', () => {
  const old = ring('old')
  const sealed = new SecretBox(old).seal('secret', owner)
  const rotated = ring('new')
  rotated.keys.set('old', old.current.key)
  const box = new SecretBox(rotated)
  assert.equal(box.open(sealed, owner), 'secret')
  assert.equal(box.seal('secret', owner).keyId, 'new')
})

test('names a missing key', () => {
  const sealed = new SecretBox(ring('gone')).seal('secret', owner)
  assert.throws(() => new SecretBox(ring('a')).open(sealed, owner), /key "gone".*not in the keyring/)
})

test('does not decrypt data with any byte changed', () => {
  const box = new SecretBox(ring('a'))
  const sealed = box.seal('secret', owner)
  const flip = (bytes: Buffer, at: number) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)))
  const tampered: Sealed[] = [
    ...Array.from(sealed.ciphertext, (_, at) => ({ ...sealed, ciphertext: flip(sealed.ciphertext, at) })),
    ...Array.from(sealed.nonce, (_, at) => ({ ...sealed, nonce: flip(sealed.nonce, at) })),
    { ...sealed, ciphertext: sealed.ciphertext.subarray(0, -1) },
    { ...sealed, ciphertext: sealed.ciphertext.subarray(0, 8) },
    { ...sealed, ciphertext: Buffer.alloc(0) }
  ]
  for (const secret of tampered) assert.throws(() => box.open(secret, owner))
})

test('does not decrypt a secret moved to another app or variable', () => {
  const box = new SecretBox(ring('a'))
  const sealed = box.seal('secret', owner)
  assert.throws(() => box.open(sealed, { ...owner, key: 'OTHER' }))
  assert.throws(() => box.open(sealed, { ...owner, appId: '6f1c1d9e-0000-4000-8000-000000000002' }))
})

test('does not decrypt a secret with another key of the same id', () => {
  const sealed = new SecretBox(ring('a')).seal('secret', owner)
  assert.throws(() => new SecretBox(ring('a')).open(sealed, owner))
})
