import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { type ClientIp, peerOf } from '../lib/address.ts'
import type { AuthorizeAtOnce } from '../lib/authorize.ts'
import { errors } from '../lib/errors.ts'

export interface ScraperRules {
  /** Any one of them will do. If there are none, access depends on the peer. */
  readonly tokens: () => readonly string[]
  /** Without a token, answer peers on this machine that address the server as localhost. */
  readonly allowLoopback: boolean
  /** Whether such a peer is trusted; anything but true means no. */
  readonly trusts: AuthorizeAtOnce
}

const BEARER = /^bearer +(\S+)$/i

/** @returns a function that checks a scrape @throws the refusal of a scrape that may not read the metrics */
export function scraperCheck({ tokens, allowLoopback, trusts }: ScraperRules): (request: FastifyRequest) => void {
  return request => {
    const accepted = tokens()
    if (accepted.length > 0) {
      const [, given = ''] = BEARER.exec(request.headers.authorization ?? '') ?? []
      if (!accepted.some(token => isSame(given, token))) throw errors.unauthorized()
    } else if (!allowLoopback || !isLocal(request) || trusts(request) !== true) {
      throw errors.forbidden('You may not read the metrics')
    }
  }
}

/** Digests have the same length, and comparing them does not reveal where the texts differ. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

const isLocal = ({ raw, headers }: FastifyRequest) => isLoopback(peerOf(raw.socket)) && namesLoopback(headers.host)

function isLoopback({ address }: ClientIp): boolean {
  return address === '::1' || address.startsWith('127.')
}

/** Stops DNS rebinding: a foreign page whose name resolves here sends that name. Local apps send their own host, too. */
const namesLoopback = (host = '') => /^(localhost|127(\.\d{1,3}){3}|\[::1\])\.?(:\d{1,5})?$/i.test(host)
