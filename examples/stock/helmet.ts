import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'

/**
 * `@fastify/helmet` in the place of `security-headers`, at its defaults but for the policy: its own allows inline styles.
 * The pages of Rhone ask `app.securityHeaders` for the nonce of their style sheets and scripts.
 */
export default fp(
  async app => {
    await app.register(helmet, {
      enableCSPNonces: true,
      contentSecurityPolicy: {
        directives: {
          'script-src': ["'self'"],
          'style-src': ["'self'"],
          'form-action': ["'self'", 'https://github.com']
        }
      }
    })
    app.decorate('securityHeaders', {
      /** Replies to broken HTTP reach no plugin. */
      api: { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
      page: reply => reply.cspNonce.style
    })
  },
  { name: 'stock-helmet', fastify: '5.x' }
)
