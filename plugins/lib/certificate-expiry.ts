import { X509Certificate } from 'node:crypto'
import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import { gauge } from './metrics.ts'
import type { Registry } from './registry.ts'

/**
 * When certificates expire, for alerts: this server's own, and those of the services it connects to.
 * @returns a function that records a certificate's expiry, replacing the previous one
 */
export function certificateExpiry(registry: Registry | undefined): (name: string, expiry: Date) => void {
  const seconds = gauge(registry, {
    name: 'rhone_tls_certificate_expiry_timestamp_seconds',
    help: 'Expiry of the certificate of this server, or of the last one presented by a service.',
    labelNames: ['name'],
    aggregator: 'min'
  })
  return (name, expiry) => seconds.set({ name }, expiry.getTime() / 1_000)
}

/**
 * Returns the options extended to record the certificate that the peer presents at each full handshake. An untrusted
 * certificate fails the handshake first, so the last good one stays recorded.
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

/** The earliest expiry date in a PEM certificate chain. @throws Error if it contains no certificate */
export function expiryOf(pem: string | Buffer): Date {
  const chain = pem.toString('latin1').match(CERTIFICATE) ?? []
  if (chain.length === 0) throw new Error('the file contains no certificate')
  return new Date(Math.min(...chain.map(text => Date.parse(new X509Certificate(text).validTo))))
}
