import { randomBytes } from 'node:crypto'
import type { FastifyHelmetOptions } from '@fastify/helmet'
import { type Static, Type } from '@sinclair/typebox'
import Fastify, { type FastifyPluginAsync, type FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { onEntry } from './lib/entry.ts'
import { negotiate } from './lib/negotiate.ts'
import { type PluginInput, parseOptions } from './lib/options.ts'
import { loadPackages } from './lib/packages.ts'
import { attachBlock, HeaderBlock } from './lib/response-head.ts'
import { routeConfig, useRouteConfig } from './lib/route-config.ts'

export const SecurityHeadersOptions = Type.Object(
  {
    hsts: Type.Boolean({
      default: false,
      description:
        'Sends Strict-Transport-Security for a year. Only where everything, subdomains too, is served by HTTPS.'
    }),
    hstsPreload: Type.Boolean({
      default: false,
      description: "Asks browsers to preload HSTS for the domain, which is slow to undo. Needs 'hsts'."
    }),
    imageSources: Type.Array(Type.String(), {
      default: [],
      description: 'Other hosts that images may come from.'
    }),
    formTargets: Type.Array(Type.String(), {
      default: ['https://github.com'],
      description: 'Other hosts that forms may be submitted or redirected to.'
    }),
    trustedTypes: Type.Array(Type.String({ pattern: '^[\\w-]+$' }), {
      default: [],
      description: 'Trusted Types policies that page scripts may create. Empty: scripts cannot write markup.'
    })
  },
  { additionalProperties: false }
)
export type SecurityHeadersOptions = Static<typeof SecurityHeadersOptions>

export interface SecurityHeaders {
  /** The headers of every reply except pages. */
  readonly api: Readonly<Record<string, string>>
  /** Marks a reply as a page; returns the nonce that permits its scripts, and its inline styles. */
  page(reply: FastifyReply): string
}

const NAME = 'rhone-security-headers'

const kNonce = Symbol('rhone.csp-nonce')

declare module 'fastify' {
  interface FastifyInstance {
    securityHeaders: SecurityHeaders
  }
  interface FastifyReply {
    [kNonce]: string
  }
  interface FastifyContextConfig {
    /** `false` omits all these headers from replies of this route. */
    securityHeaders?: false
  }
}

const NONCE_PLACEHOLDER = 'NONCE'

/** Browser features that none of our pages use. */
const PERMISSIONS_POLICY = ['geolocation', 'microphone', 'camera', 'payment', 'usb']
  .map(name => `${name}=()`)
  .join(', ')

const securityHeaders: FastifyPluginAsync<PluginInput<typeof SecurityHeadersOptions>> = async (app, input) => {
  const options = parseOptions(NAME, SecurityHeadersOptions, input)
  if (options.hstsPreload && !options.hsts) throw new Error("rhone-security-headers: 'hstsPreload' needs 'hsts'")

  const api = Object.freeze(await headersFor(options, apiPolicy()))
  const entries = Object.entries(api)
  const block = new HeaderBlock(api)
  const pageBlock = await headersFor(options, pagePolicy(options))
  const pagePolicyTemplate = pageBlock['content-security-policy'] as string

  useRouteConfig(app)
  app.decorateReply(kNonce, '')
  app.decorate('securityHeaders', { api, page })

  onEntry(app, (request, reply) => {
    const config = routeConfig(request)
    if (config.securityHeaders === false) return
    if (!attachBlock(reply.raw, block)) for (const [name, value] of entries) reply.header(name, value)
    if (config.page === true || (config.page === 'shared' && negotiate(request.headers.accept, true) === 'page'))
      page(reply)
  })

  function page(reply: FastifyReply): string {
    if (reply[kNonce] === '') {
      reply[kNonce] = randomBytes(16).toString('base64')
      reply.header('content-security-policy', pagePolicyTemplate.replaceAll(NONCE_PLACEHOLDER, reply[kNonce]))
    }
    return reply[kNonce]
  }
}

type Directives = Record<string, string[]>

function apiPolicy(): Directives {
  return { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] }
}

/**
 * Scripts run only by the nonce of their reply, so nothing else that the server sends, such as an API reply or a user's
 * file, can run as one. Styles may also be our own files.
 */
function pagePolicy({ imageSources, formTargets, trustedTypes }: SecurityHeadersOptions): Directives {
  const nonce = `'nonce-${NONCE_PLACEHOLDER}'`
  return {
    'default-src': ["'none'"],
    'script-src': [nonce],
    'style-src': ["'self'", nonce],
    'img-src': ["'self'", 'data:', ...imageSources],
    'connect-src': ["'self'"],
    'font-src': ["'self'"],
    'worker-src': ["'self'"],
    'manifest-src': ["'self'"],
    'object-src': ["'none'"],
    'base-uri': ["'none'"],
    'form-action': ["'self'", ...formTargets],
    'frame-ancestors': ["'none'"],
    'require-trusted-types-for': ["'script'"],
    'trusted-types': trustedTypes.length > 0 ? trustedTypes : ["'none'"]
  }
}

/**
 * The headers that helmet would set, computed once. Helmet validates its options and builds a dozen middlewares for
 * every request, although only the nonce of a page ever differs.
 */
async function headersFor(options: SecurityHeadersOptions, directives: Directives): Promise<Record<string, string>> {
  const { default: helmet } = await loadPackages(NAME, ['@fastify/helmet'], () => import('@fastify/helmet'))
  const scratch = Fastify()
  let headers: Record<string, unknown> = {}
  await scratch.register(helmet, helmetOptions(options, directives))
  scratch.get('/', (_request, reply) => {
    headers = reply.getHeaders()
    reply.send()
  })
  await scratch.inject('/')
  await scratch.close()

  return {
    ...Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, String(value).replaceAll(/;(?! )/g, '; ')])
    ),
    'permissions-policy': PERMISSIONS_POLICY,
    'cache-control': 'no-store'
  }
}

function helmetOptions({ hsts, hstsPreload }: SecurityHeadersOptions, directives: Directives): FastifyHelmetOptions {
  return {
    contentSecurityPolicy: { useDefaults: false, directives },
    crossOriginOpenerPolicy: { policy: 'same-origin' },
    crossOriginResourcePolicy: { policy: 'same-origin' },
    referrerPolicy: { policy: 'strict-origin-when-cross-origin' },
    strictTransportSecurity: hsts && { maxAge: 31_536_000, includeSubDomains: true, preload: hstsPreload },
    xFrameOptions: { action: 'deny' },
    xDnsPrefetchControl: { allow: false },
    xDownloadOptions: false,
    xPermittedCrossDomainPolicies: { permittedPolicies: 'none' }
  }
}

export default fp(securityHeaders, { name: NAME, fastify: '5.x' })
