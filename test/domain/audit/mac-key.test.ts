import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { MacKey } from '../../../src/domain/audit/mac-key.ts'

test('a MAC is the one of RFC 4231, and of Node, for keys and texts of any length', () => {
  const rfc = new MacKey(Buffer.from('Jefe')).mac('what do ya want for nothing?')
  assert.equal(rfc.toString('hex'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
  for (const keyBytes of [0, 1, 32, 63, 64])
    for (const text of ['', 'a', 'Zoë’s 🚀', 'x'.repeat(55), 'x'.repeat(64), 'x'.repeat(70_000), '\ud800']) {
      const key = randomBytes(keyBytes)
      const own = new MacKey(key)
      const expected = createHmac('sha256', key).update(text).digest()
      assert.deepEqual([own.mac(text), own.mac(text)], [expected, expected], `${keyBytes} bytes, ${text.slice(0, 10)}`)
    }
})

test('MACs do not change when the next one is made', () => {
  const key = new MacKey(randomBytes(32))
  const [first, copy] = [key.mac('a'), key.mac('a')]
  key.mac('b')
  assert.deepEqual(first, copy)
  assert.notDeepEqual(key.mac('b'), first)
})

test('a key that is too long is refused', () => {
  assert.throws(() => new MacKey(randomBytes(65)), /at most 64 bytes, not 65/)
})
