import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/site.ts'
import { ICON_FILE } from '../../views/parts/icons.ts'
import { reads } from '../lib/policy.ts'

export interface SiteOptions {
  /** The URL under which clients reach the server. */
  readonly baseUrl: URL
  /** Where to report vulnerabilities: a mailto: or https URL. */
  readonly securityContact: string
}

const open = { ...reads, access: 'public', slo: 'detail', cors: false } as const
/** Milliseconds for which the contact is valid; RFC 9116 recommends less than a year. */
const CONTACT_AGE = 180 * 86_400_000
const ROBOTS = 'User-agent: *\nDisallow: /api/\nDisallow: /admin/\nDisallow: /auth/\n'

/** The files that browsers and robots request from every site. */
const site: FastifyPluginCallbackTypebox<SiteOptions> = (app, { baseUrl, securityContact }, done) => {
  app.get('/favicon.ico', {
    schema: schemas.getIcon,
    config: { ...open, maintenance: false },
    handler: async (_request, reply) =>
      reply.type('image/svg+xml').header('cache-control', 'public, max-age=86400').send(ICON_FILE)
  })

  app.get('/robots.txt', {
    schema: schemas.getRobots,
    config: { ...open, maintenance: false },
    handler: async (_request, reply) =>
      reply.type('text/plain; charset=utf-8').header('cache-control', 'public, max-age=86400').send(ROBOTS)
  })

  app.get('/.well-known/security.txt', {
    schema: schemas.getSecurityContact,
    config: { ...open, maintenance: false },
    handler: async (_request, reply) => reply.type('text/plain; charset=utf-8').send(securityText())
  })

  function securityText(): string {
    const expires = new Date(Date.now() + CONTACT_AGE).toISOString()
    const canonical = new URL('/.well-known/security.txt', baseUrl).href
    return `Contact: ${securityContact}\nExpires: ${expires}\nPreferred-Languages: en\nCanonical: ${canonical}\n`
  }

  done()
}

export default site
