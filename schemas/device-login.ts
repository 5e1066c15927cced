import { Type } from '@sinclair/typebox'
import { adapted, NoQuery, OneOf, Sent, Strict, Text, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'
import { Scope } from './me.ts'
import { FormBody, page, submission } from './pages.ts'

const tags = ['signing in']

const Interval = Type.Integer({ description: 'Seconds to wait before the next poll.', examples: [5] })

/** One line of display text, shorter than other names, since a person compares it. */
const ProgramName = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: '^(?=[\\s\\p{Cf}]*[^\\s\\p{Cf}])[^\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Bidi_Control}]*$',
  'x-form': 'one line of text that is not blank',
  description: 'The name of the program, shown to the person who approves it.',
  examples: ['rhone on laptop']
})

export const beginDeviceLogin = {
  operationId: 'beginDeviceLogin',
  summary: 'Start the login of a program',
  description:
    'The device authorization request of RFC 8628, in JSON. Show `userCode` and `verificationUri` to a person, then poll `POST /api/v1/auth/device/token` every `interval` seconds.',
  tags,
  querystring: NoQuery,
  body: Strict(
    {
      name: Type.Optional(ProgramName),
      scopes: Type.Optional(
        Type.Array(Scope, {
          minItems: 1,
          maxItems: 3,
          uniqueItems: true,
          description: 'The scopes of its token. Absent: everything that its owner may do.'
        })
      )
    },
    { title: 'BeginDeviceLoginRequest' }
  ),
  response: {
    201: Sent(
      {
        deviceCode: Text(
          'The secret with which the program polls for the outcome.',
          'GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS'
        ),
        userCode: Text('The code that the person compares or types.', 'WDJB-MJHT'),
        verificationUri: Text('The page for the code.', 'https://rhone.example.com/login/device'),
        verificationUriComplete: Text(
          'The same page with the code filled in.',
          'https://rhone.example.com/login/device?code=WDJB-MJHT'
        ),
        expiresIn: Type.Integer({ description: 'Seconds until the codes expire.', examples: [600] }),
        interval: Interval
      },
      { title: 'DeviceLogin' }
    ),
    ...errorResponses
  }
}

export const askDeviceLogin = {
  operationId: 'askDeviceLogin',
  summary: 'Ask whether a login was approved',
  description:
    'The device access token request of RFC 8628. Its error codes are values of `status` here, because a pending login is not an error. The token is returned once; polling again revokes it.',
  tags,
  querystring: NoQuery,
  body: Strict(
    {
      deviceCode: Type.String({
        minLength: 1,
        maxLength: 100,
        description: 'The `deviceCode` of the login.',
        examples: ['GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS']
      })
    },
    { title: 'AskDeviceLoginRequest' }
  ),
  response: {
    200: Sent(
      {
        status: OneOf(['authorization_pending', 'slow_down', 'access_denied', 'expired_token', 'approved'], {
          description:
            '`authorization_pending`: poll again after `interval`. `slow_down`: the same, with a longer `interval`. `access_denied`: the person denied it. `expired_token`: expired, used or unknown.'
        }),
        interval: Interval,
        token: Type.Optional(
          Type.String({ description: 'The API token, once approved.', examples: ['rhone_4f7a...'] })
        ),
        tokenId: Type.Optional(Text('The id of the token, for revoking it.', '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')),
        scopes: Type.Optional(Type.Array(Scope, { description: 'Its scopes.' })),
        expiresAt: Type.Optional(adapted(Timestamp, { description: 'When it expires.' })),
        user: Type.Optional(Text('The owner of the token.', 'ada'))
      },
      { title: 'DeviceLoginOutcome' }
    ),
    ...errorResponses
  }
}

const Code = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'The code that the program shows; case, spaces and the dash are ignored.',
  examples: ['WDJB-MJHT']
})

export const deviceLoginPage = page('getDeviceLoginPage', 'Approve the login of a program', {
  querystring: Strict({
    code: Type.Optional(Code),
    done: Type.Optional(OneOf(['approved', 'denied'], { description: 'The decision just made.' }))
  })
})

export const submitDeviceLogin = submission(
  'submitDeviceLogin',
  'Approve or deny the login of a program, from a page',
  {
    body: FormBody('DeviceLoginForm', {
      code: Code,
      decision: OneOf(['approve', 'deny'], { description: 'The decision.' })
    })
  }
)
