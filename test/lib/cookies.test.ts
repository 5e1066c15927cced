import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { FastifyRequest } from 'fastify'
import { cookieName, readCookie, setCookie } from '../../plugins/lib/cookies.ts'

const requestWith = (cookie: string | undefined) => ({ headers: { cookie } }) as FastifyRequest

/** Allowed characters of cookie names and values (RFC 6265), except those that some parsers decode or cut off. */
const name = fc.stringMatching(/^[\w!#$&'*+.^`|~-]{1,20}$/)
const value = fc.stringMatching(/^[\w!#$&'()*+./:<=>?@[\]^`{|}~-]{0,60}$/)

describe('reading a cookie', () => {
  it('reads what was set, among any others in any order', () => {
    const others = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 8 })
    fc.assert(
      fc.property(name, value, others, fc.nat(), (key, text, pairs, at) => {
        const all = pairs.filter(([other]) => other !== key)
        all.splice(at % (all.length + 1), 0, [key, text])
        const header = all.map(pair => pair.join('=')).join('; ')
        assert.equal(readCookie(requestWith(header), key), text)
      })
    )
  })

  it('ignores both of two cookies with different values, wherever they stand', () => {
    const other = fc.tuple(name, value).map(pair => pair.join('='))
    fc.assert(
      fc.property(name, value, value, fc.array(other, { maxLength: 4 }), (key, first, second, between) => {
        fc.pre(first !== second && !between.some(pair => pair.startsWith(`${key}=`)))
        const header = [`${key}=${first}`, ...between, `${key}=${second}`].join('; ')
        assert.equal(readCookie(requestWith(header), key), undefined)
      })
    )
  })

  it('does not confuse a name with one that contains it, or with properties of objects', () => {
    for (const header of ['xsid=1', 'sidx=1', 'a=sid=1', '__proto__=1; sid', 'sid ', ' =1', ''])
      assert.equal(readCookie(requestWith(header), 'sid'), undefined, header)
    for (const inherited of ['__proto__', 'constructor', 'toString', 'hasOwnProperty'])
      assert.equal(readCookie(requestWith('sid=1'), inherited), undefined, inherited)
  })

  it('never throws, for any header', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ maxLength: 10 }), (header, key) => {
        const found = readCookie(requestWith(header), key)
        assert.ok(found === undefined || typeof found === 'string')
      })
    )
  })

  it('reads nothing without a cookie header', () => {
    assert.equal(readCookie(requestWith(undefined), 'sid'), undefined)
  })
})

describe('setting a cookie', () => {
  it('is HttpOnly and SameSite, and bound to this host and, with https, to https', () => {
    assert.equal(
      setCookie(cookieName('sid', true), 'abc', { secure: true, maxAge: 60 }),
      '__Host-sid=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure'
    )
    assert.equal(
      setCookie(cookieName('sid', false), '', { secure: false, maxAge: 0 }),
      'sid=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax'
    )
  })
})
