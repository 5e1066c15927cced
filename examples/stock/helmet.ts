import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'

/**
 * `@fastify/helmet` in place of `security-headers`, with its defaults except for the policy: its own allows inline styles.
 * Rhone's pages get the nonce of their style sheets and scripts from `app.securityHeaders`.
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
      /** Replies to broken HTTP do not pass through plugins. */
      api: { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' },
      page: reply => reply.cspNonce.style
    })
  },
  { name: 'stock-helmet', fastify: '5.x' }
)
