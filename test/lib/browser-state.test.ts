import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import fc from 'fast-check'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { browserState } from '../../plugins/lib/browser-state.ts'
import { randomKeyring } from '../../plugins/lib/signer.ts'

const keys = randomKeyring()
const settings = { purpose: 'test', cookie: 'trip', secure: true, lifetime: 60, keys }
const trips = browserState(settings)

/** The cookie and the state of a browser after a redirect. */
function sendAway(payload: string, from = trips) {
  let header = ''
  const reply = { header: (_name: string, value: string) => (header = value) } as unknown as FastifyReply
  const { state, nonce } = from.begin(reply, payload)
  return { state, nonce, cookie: header.slice(0, header.indexOf(';')), attributes: header.slice(header.indexOf(';')) }
}

const comingWith = (cookie?: string) => ({ headers: { cookie } }) as FastifyRequest

describe('a returning browser', () => {
  it('brings back any payload', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), payload => {
        const { state, nonce, cookie } = sendAway(payload)
        const found = trips.read(comingWith(cookie), state)
        assert.ok(typeof found === 'object')
        assert.deepEqual([found.payload, found.nonce], [payload, nonce])
      })
    )
  })

  it('is recognised only by its own cookie and state together', () => {
    const [mine, other] = [sendAway('/a'), sendAway('/a')]
    assert.equal(trips.read(comingWith(undefined), mine.state), 'absent')
    assert.equal(trips.read(comingWith(mine.cookie), undefined), 'foreign')
    assert.equal(trips.read(comingWith(mine.cookie), other.state), 'foreign')
    assert.equal(trips.read(comingWith(`${mine.cookie}; ${other.cookie}`), mine.state), 'absent', 'two are none')
  })

  it('is refused if anything was changed on the way', () => {
    const { state, cookie } = sendAway('/home')
    const value = cookie.slice(cookie.indexOf('=') + 1)
    const changed = fc.tuple(fc.nat(value.length - 1), fc.constantFrom('A', 'z', '0', '.', '-'))
    fc.assert(
      fc.property(changed, ([at, character]) => {
        fc.pre(value[at] !== character)
        const forged = `__Host-trip=${value.slice(0, at)}${character}${value.slice(at + 1)}`
        assert.equal(trips.read(comingWith(forged), state), 'foreign')
      })
    )
    fc.assert(fc.property(fc.string(), made => made === state || trips.read(comingWith(cookie), made) === 'foreign'))
  })

  it('is refused with a signature for another purpose or by other keys', () => {
    for (const other of [{ purpose: 'another' }, { keys: randomKeyring() }]) {
      const { state, cookie } = sendAway('/a', browserState({ ...settings, ...other }))
      assert.equal(trips.read(comingWith(cookie), state), 'foreign')
    }
  })

  it('is refused after the lifetime, to the millisecond', (t: TestContext) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    const { state, cookie } = sendAway('/a')
    t.mock.timers.setTime(1_000_000 + 59_999)
    assert.equal(typeof trips.read(comingWith(cookie), state), 'object')
    t.mock.timers.setTime(1_000_000 + 60_000)
    assert.equal(trips.read(comingWith(cookie), state), 'late')
  })
})

describe('a browser on its way out', () => {
  it('gets a cookie with the same lifetime, and never the same nonce twice', () => {
    assert.match(sendAway('/a').attributes, /Max-Age=60; HttpOnly; SameSite=Lax; Secure$/)
    assert.equal(new Set(Array.from({ length: 100 }, () => sendAway('/a').nonce)).size, 100)
  })
})
