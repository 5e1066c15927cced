import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { parseAddress } from '../../plugins/lib/address.ts'
import { AppError, errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/device-login.ts'
import {
  DEVICE_TOKEN_DAYS,
  decideDeviceLogin,
  findPendingLogin,
  type PendingLogin,
  readUserCode
} from '../../src/domain/accounts/device-logins.ts'
import { takeGuess } from '../../src/domain/accounts/guessing.ts'
import { approveDevicePage, deviceDonePage, enterCodePage } from '../../views/device-login.ts'
import { callerOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { deviceLogin } from '../lib/device-login.ts'
import { leadingTo, problemOf, submit } from '../lib/forms.ts'
import { sendSolo } from '../lib/page.ts'

const person = {
  ...deviceLogin,
  access: 'authenticated',
  scope: 'admin',
  priority: 'normal',
  page: true,
  stepUp: true
} as const
const audited = (action: string) => ({ type: 'auth', action, resource: 'device_login' }) as const

const UNKNOWN = 'no login has this code: it is mistyped, used, or older than ten minutes'

/** Pages on which people approve programs that want to log in as them. */
const deviceLogins: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/login/device', {
    schema: schemas.deviceLoginPage,
    config: { ...person, slo: 'detail', audit: audited('enter') },
    handler: async (request, reply) => {
      const { code, done: decision } = request.query
      if (decision !== undefined) return sendSolo(app, request, reply, deviceDonePage(decision))
      if (code === undefined) return sendSolo(app, request, reply, enterCodePage({}))
      try {
        const { spelled, login } = await guess(request, code)
        return sendSolo(app, request, reply, approveDevicePage({ ...login, ...facts(request, login), code: spelled }))
      } catch (error) {
        return refused(request, reply, code, error)
      }
    }
  })

  app.post('/login/device', {
    schema: schemas.submitDeviceLogin,
    attachValidation: true,
    config: { ...person, slo: 'write', csrf: true, audit: audited('approve') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendSolo(app, request, reply, enterCodePage({ code: request.body.code, problem })),
        run: async () => {
          const { code, decision } = request.body
          const { userId, via } = callerOf(request)
          // Otherwise a token could create one that outlives it.
          if (via !== 'session') throw errors.forbidden('A login can only be approved in a browser session')
          const { login } = await guess(request, code)
          return change(request, reply, async tx => {
            const outcome = decision === 'approve' ? 'approved' : 'denied'
            if (!(await decideDeviceLogin(tx, login.id, userId, outcome))) throw errors.validation('code', UNKNOWN)
            const details = { scopes: login.scopes, from: login.ip }
            const audit = { action: decision, resourceId: login.id, resourceName: login.name, details }
            return leadingTo(`/login/device?done=${outcome}`, { status: 303, audit })
          })
        }
      })
  })

  /** The login under a code. Wrong codes are counted, and lead to waiting times. */
  async function guess(request: FastifyRequest, text: string): Promise<{ spelled: string; login: PendingLogin }> {
    const { userId } = callerOf(request)
    const address = request.clientIp?.bucket ?? request.ip
    const right = await takeGuess(app.db, `device login ${userId}`, address, 'Too many wrong codes')
    const spelled = readUserCode(text)
    const login = spelled === null ? undefined : await findPendingLogin(app.db, spelled)
    if (spelled === null || login === undefined) throw errors.validation('code', UNKNOWN)
    await right()
    return { spelled, login }
  }

  function facts(request: FastifyRequest, { ip }: PendingLogin) {
    const here = request.clientIp?.bucket ?? parseAddress(request.ip)?.bucket
    return {
      days: DEVICE_TOKEN_DAYS,
      isElsewhere: ip !== null && parseAddress(ip)?.bucket !== here,
      address: request.clientIp?.address ?? request.ip
    }
  }

  function refused(request: FastifyRequest, reply: FastifyReply, code: string, error: unknown): FastifyReply {
    if (!(error instanceof AppError) || error.statusCode >= 500) throw error
    reply.code(error.code === 'VALIDATION_ERROR' ? 422 : error.statusCode).headers(error.headers ?? {})
    return sendSolo(app, request, reply, enterCodePage({ code, problem: problemOf(error) }))
  }

  done()
}

export default deviceLogins
