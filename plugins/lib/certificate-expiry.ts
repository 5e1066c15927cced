import { X509Certificate } from 'node:crypto'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import { gauge } from './metrics.ts'
import type { Registry } from './registry.ts'

/**
 * When certificates expire, for alerts: that of this server, and those of the services it connects to.
 *
 * @returns a function that records the expiry of one of them, in place of the one before
 */
export function certificateExpiry(registry: Registry | undefined): (name: string, expiry: Date) => void {
  const seconds = gauge(registry, {
    name: 'rhone_tls_certificate_expiry_timestamp_seconds',
    help: 'When the certificate of this server, or the one that a service has shown last, expires.',
    labelNames: ['name'],
    aggregator: 'min'
  })
  return (name, expiry) => seconds.set({ name }, expiry.getTime() / 1_000)
}

/**
 * The same options, which record the certificate that the peer shows at each full handshake. A certificate that is not
 * trusted fails the handshake before, so that the last good one stays recorded.
 */
export function recordingPeer(record: (expiry: Date) => void, options: ConnectionOptions): ConnectionOptions {
  const { checkServerIdentity: check = checkServerIdentity } = options
  return {
    ...options,
    checkServerIdentity(host, certificate) {
      record(new Date(certificate.valid_to))
      return check(host, certificate)
    }
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** The end of the first certificate of a PEM chain to expire. @throws Error when there is none */
export function expiryOf(pem: string | Buffer): Date {
  const chain = pem.toString('latin1').match(CERTIFICATE) ?? []
  if (chain.length === 0) throw new Error('there is no certificate in the file')
  return new Date(Math.min(...chain.map(text => Date.parse(new X509Certificate(text).validTo))))
}
