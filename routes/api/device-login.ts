import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/device-login.ts'
import { askDeviceLogin, beginDeviceLogin } from '../../src/domain/accounts/device-logins.ts'
import { deviceLogin } from '../lib/device-login.ts'

export interface DeviceLoginOptions {
  /** The public URL of the server. */
  readonly baseUrl: URL
}

const program = { ...deviceLogin, access: 'public', slo: 'write' } as const
const CREATES_TOKEN = { type: 'auth', action: 'create', resource: 'token' } as const

/** Logs programs in: they show a code, which a person approves in a browser. */
const deviceLogins: FastifyPluginCallbackTypebox<DeviceLoginOptions> = (app, { baseUrl }, done) => {
  app.post('/auth/device', {
    schema: schemas.beginDeviceLogin,
    config: { ...program, audit: { type: 'auth', action: 'begin', resource: 'device_login' } },
    // A program has no required fields to send.
    preValidation(request, _reply, next) {
      request.body ??= {}
      next()
    },
    handler: async (request, reply) => {
      const { name = 'a program', scopes = ['admin'] } = request.body
      const ip = request.clientIp?.address ?? request.ip
      const { userCode, ...begun } = await beginDeviceLogin(app.db, { name: name.trim(), scopes, ip })
      const verificationUri = new URL('/login/device', baseUrl)
      const complete = new URL(verificationUri)
      complete.searchParams.set('code', userCode)
      return reply.code(201).send({
        ...begun,
        userCode,
        verificationUri: verificationUri.href,
        verificationUriComplete: complete.href
      })
    }
  })

  app.post('/auth/device/token', {
    schema: schemas.askDeviceLogin,
    config: { ...program, audit: CREATES_TOKEN },
    handler: async request => {
      const { granted, revoked, ...outcome } = await app.db.transaction(async tx => {
        const asked = await askDeviceLogin(tx, request.body.deviceCode)
        const { user, token } = asked.granted ?? asked.revoked ?? {}
        if (user === undefined || token === undefined) return asked
        const { id: userId, ...who } = user
        request.principal = { userId, ...who, via: 'token', credentialId: token.id, scopes: [] }
        if (!app.hasDecorator('audit')) return asked
        const event = { resourceId: token.id, resourceName: token.name }
        if (asked.granted !== undefined) {
          const { token: _, ...details } = asked.granted.token
          await app.audit.record(tx, request, { ...CREATES_TOKEN, ...event, details })
        } else {
          const details = { prefix: token.prefix, reason: 'is listed twice' }
          await app.audit.record(tx, request, { ...CREATES_TOKEN, action: 'revoke', ...event, details })
        }
        return asked
      })
      if (revoked !== undefined) app.auth.forget(revoked.token.id)
      if (granted === undefined) return outcome
      const { token, id: tokenId, scopes, expiresAt } = granted.token
      return { ...outcome, token, tokenId, scopes, ...(expiresAt && { expiresAt }), user: granted.user.username }
    }
  })

  done()
}

export default deviceLogins
